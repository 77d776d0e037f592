"""RefusedError: what the authority does not do, in its own words, with the next step for whoever asked.

Raised where the authority decides, and where its answer is read. It must not know how either travelled.
"""

from __future__ import annotations

from federation.membership import admission
from federation.membership.requests import Refusal
from federation.model.errors import FederationError


class RefusedError(FederationError):
    """The authority does not do what it was asked for; its reason is a stable code, and leads to the hint."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message, hint=_HINTS.get(refusal.reason, ""))
        self.reason = refusal.reason


_ANEW = "ask for a new token: `federation token create --cluster NAME` where the authority is"
_HINTS: dict[str, str] = {
    admission.Reason.UNKNOWN: _ANEW,
    admission.Reason.USED: _ANEW,
    admission.Reason.REVOKED: _ANEW,
    admission.Reason.EXPIRED: _ANEW,
    admission.Reason.SPENT: _ANEW,
    admission.Reason.CLOCK_SKEW: "set the clock of this machine, with NTP for instance, and join again",
    admission.Reason.CLUSTER_TAKEN: "choose another id, or have the old member evicted: `federation evict NAME`",
    admission.Reason.TRUST_DOMAIN_TAKEN: "choose another one with --trust-domain",
    admission.Reason.KEY_TAKEN: "move the member key away: a new one is made",
    admission.Reason.FULL: "evict members that are dead, or found another clusterset",
    admission.Reason.KEY_RETIRING: "ask again then",
    admission.Reason.NOT_A_MEMBER: "`federation members` lists those that are",
    admission.Reason.IS_SEAT: "whoever has the authority can't go; with the others evicted there is nothing to leave",
}
