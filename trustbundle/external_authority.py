"""ExternalAuthority: stands where the CertificateAuthority would, for a cluster whose CA is elsewhere.

It holds what was last taken from the source, with the trouble since, and stores every change before it acts on it. It
issues nothing. It takes content and time as arguments and must not fetch anything itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Never, Protocol

from federation.model.errors import TrustError
from federation.model.problems import Problem
from trustbundle.authority import Svid
from trustbundle.bundle import BundleRejected, TrustBundle
from trustbundle.external import BundleContent, TakenBundle, parse_content, take
from trustbundle.identity import SpiffeId, TrustDomain
from trustbundle.x509 import parse_authority

_REST = timedelta(hours=1)
_NONE_ISSUED = (
    "none is issued, for this cluster's CA is elsewhere; run the workload's own mesh with a certificate of that CA, or "
    "remove bundleFile and bundleEndpoint under ca in cluster.yaml"
)


class TakenStore(Protocol):
    """Where what was taken outlives the process; durable when an operation returns, or it raises TrustError."""

    def load(self) -> TakenBundle | None:
        """What was stored last; None only where nothing ever was."""
        ...

    def save(self, taken: TakenBundle) -> None:
        """Replace it, whole or not at all."""
        ...


class ExternalAuthority:
    """The bundle of a CA elsewhere: a BundleSource that others keep up to date by ``offer`` and ``fail``."""

    def __init__(self, trust_domain: TrustDomain, source: str, store: TakenStore, *, above: int = 0) -> None:
        """Start from what is stored; raises TrustError where that can't be read.

        ``source`` is its name for people. ``above``: the sequence that the built-in CA has come to.
        """
        self.source = source
        self._trust_domain = trust_domain
        self._store = store
        self._above = above
        self._taken = store.load()
        self._trouble: Problem | None = None
        self._refused: set[SpiffeId] = set()

    @property
    def taken(self) -> TakenBundle | None:
        """What is in force; None until something was ever taken."""
        return self._taken

    @property
    def trouble(self) -> Problem | None:
        """Why the source's last word is not in force; None where it is."""
        return self._trouble

    def offer(self, content: bytes, origin: str, now: datetime) -> BundleContent | None:
        """Take what the source says, or keep the last good with a problem; returns what was taken.

        What can't be stored is not taken: after a restart the sequence would go back.
        """
        try:
            read = parse_content(content, self._trust_domain)
        except TrustError as error:
            self.fail(error.reason, str(error))
            return None
        judged = take(read, origin, self._taken, self._trust_domain, now, above=self._above)
        if isinstance(judged, BundleRejected):
            self.fail(judged.reason, judged.message)
            return None
        try:
            self._store.save(judged)
        except TrustError as error:
            self.fail(error.reason, str(error))
            return None
        self._taken, self._trouble = judged, None
        return read

    def fail(self, reason: str, message: str) -> None:
        """Take note that the source could not be asked, or said what can't be used: the last good stays."""
        self._trouble = Problem(f"own bundle from {self.source}", reason, message)

    def problems(self, now: datetime) -> tuple[Problem, ...]:
        """What is wrong with the own bundle, with the age of what is in force, and who asked for a certificate."""
        return (
            *self._source_trouble(now),
            *self._expiry(now),
            *(Problem(f"certificate of {asked}", "ExternalCa", _NONE_ISSUED) for asked in sorted(self._refused)),
        )

    def _source_trouble(self, now: datetime) -> tuple[Problem, ...]:
        if self._trouble is None or self._taken is None:
            return () if self._trouble is None else (self._trouble,)
        age = timedelta(seconds=max(0, int((now - self._taken.taken_at).total_seconds())))
        message = f"{self._trouble.message}; the bundle in force was taken {age} ago"
        return (Problem(self._trouble.subject, self._trouble.reason, message),)

    def _expiry(self, now: datetime) -> tuple[Problem, ...]:
        subject = f"own bundle from {self.source}"
        if self._taken is None:
            return ()
        if not self._taken.authorities:
            return (Problem(subject, "AllRevoked", "it has no key: nothing that its CA has issued is accepted"),)
        if all(parse_authority(der).not_after < now for der in self._taken.authorities):
            return (Problem(subject, "Expired", "all of its CA certificates have expired: bring the new ones"),)
        return ()

    def bundle(self) -> TrustBundle:
        """The bundle in force; raises TrustError while none was ever taken."""
        if self._taken is None:
            trouble = "" if self._trouble is None else f": {self._trouble.message}"
            raise TrustError(
                f"own bundle from {self.source} is not known yet{trouble}",
                reason="NoBundle",
                hint="only a cluster that has had a bundle starts without its source: see to that, and start again",
            )
        return self._taken.bundle

    def next_wakeup(self, now: datetime) -> datetime:
        """When something changes by time alone: the next of its CA certificates expires."""
        ends = [] if self._taken is None else [parse_authority(der).not_after for der in self._taken.authorities]
        return min((end for end in ends if end > now), default=now + _REST)

    def request_rotation(self, now: datetime, *, urgent: bool = False) -> Never:  # noqa: ARG002 - as CertificateAuthority
        """Raises TrustError: others rotate this CA."""
        self._elsewhere()

    def taint(self, name: str | None, now: datetime) -> Never:  # noqa: ARG002 - as CertificateAuthority
        """Raises TrustError: others revoke of this CA."""
        self._elsewhere()

    def issue(
        self,
        spiffe_id: SpiffeId,
        now: datetime,  # noqa: ARG002 - as CertificateAuthority
        dns_names: Sequence[str] = (),  # noqa: ARG002
    ) -> Never:
        """Raises TrustError: nothing is issued here. Who asked is told of by ``problems``."""
        self._refused.add(spiffe_id)
        raise TrustError(f"{spiffe_id}: {_NONE_ISSUED}", reason="ExternalCa")

    def renew_after(self, svid: Svid) -> Never:
        """Raises TrustError: nothing was issued here."""
        raise TrustError(f"{svid.spiffe_id}: {_NONE_ISSUED}", reason="ExternalCa")

    def _elsewhere(self) -> Never:
        raise TrustError(
            f"the CA of {self._trust_domain} is elsewhere ({self.source})",
            reason="ExternalCa",
            hint="rotate or revoke where it is kept: its new bundle is taken from there",
        )
