"""Histories of admission: whatever is asked, in whatever order and however often, these things hold."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from hypothesis import event, given, settings
from hypothesis import strategies as st

from federation.membership.admission import Granted, Reason, evict, found, judge, offer, replace_authority, revoke
from federation.membership.ledger import Ledger, decode_ledger, encode_ledger
from federation.membership.requests import Refusal, Request, Wish
from federation.membership.roster import hand_over, open_roster, sign_roster
from federation.model.names import ClusterId
from support.membership_values import (
    CLUSTERSET,
    EAST,
    NOW,
    join,
    key,
    leave,
    ledger_of,
    public,
    rekey,
    roster_member,
    token_entry,
)

NAMES = st.sampled_from([ClusterId(name) for name in ("east", "west", "north", "west", "north")])
DOMAINS = st.sampled_from(["", "", "", "west.example", "shared.example"])
KEYS = st.sampled_from([f"key{number}" for number in range(5)])
TOKENS = st.sampled_from([f"token{number}" for number in range(12)])
STEPS = [*["offer"] * 4, *["join"] * 6, "rekey", "leave", "evict", "revoke", "rotate", "wait"]


@dataclass
class History:
    """A ledger, and all that has happened to it."""

    ledger: Ledger = field(default_factory=lambda: found(ledger_of(), roster_member(EAST, "seat")))
    now: datetime = NOW
    authority: int = 0
    tokens: set[str] = field(default_factory=set)
    admitted: set[bytes] = field(default_factory=lambda: {public("seat")})
    granted: list[Request] = field(default_factory=list)

    def become(self, ledger: Ledger) -> None:
        """Take the next ledger, and look at what has to hold of each."""
        before, after = self.ledger.roster, ledger.roster
        assert (after == before) == (after.serial == before.serial)
        assert after.serial >= before.serial
        assert after.member(EAST) is not None
        members = after.members
        assert len({member.cluster for member in members}) == len(members)
        assert len({member.trust_domain for member in members}) == len(members)
        keys = [known for member in members for known in (member.public_key, member.retiring_key) if known]
        assert len(set(keys)) == len(keys)
        fresh = {member.public_key for member in members} - {member.public_key for member in before.members}
        assert not fresh & self.admitted
        self.admitted |= fresh
        assert set(ledger.access) <= {member.cluster for member in members}
        assert not set(ledger.leaving) & {member.cluster for member in members}
        self.ledger = ledger

    def ask(self, request: Request) -> None:
        """Judge a request; one that counted before counts no more."""
        outcome = judge(self.ledger, request, self.now)
        if isinstance(outcome, Refusal):
            event(outcome.reason)
            assert outcome.reason in set(Reason)
            return
        if outcome.ledger == self.ledger:
            return
        event(f"granted {request.wish}")
        assert request not in self.granted
        if request.wish is Wish.JOIN:
            token = self.ledger.token(request.voucher_key)
            assert token is not None
            assert (token.cluster, token.state(self.now)) == (request.cluster, "Pending")
        self.granted.append(request)
        self.become(outcome.ledger)

    def replay(self) -> None:
        """Repeat all that was ever granted."""
        for request in self.granted:
            outcome = judge(self.ledger, request, self.now)
            assert isinstance(outcome, Refusal) or outcome == Granted(self.ledger)

    def decide(self, ledger: Ledger | Refusal) -> None:
        if isinstance(ledger, Refusal):
            event(ledger.reason)
        else:
            self.become(ledger)

    def present_key(self, cluster: ClusterId, names: list[str]) -> str:
        """The name of the key that a member has, so that some requests are its own."""
        member = self.ledger.roster.member(cluster)
        return next((name for name in names if member and public(name) == member.public_key), names[0])


def _step(history: History, data: st.DataObject) -> None:
    cluster = data.draw(NAMES)
    fresh = data.draw(KEYS)
    own = history.present_key(cluster, [fresh, "seat", *(f"key{number}" for number in range(5))])
    match data.draw(st.sampled_from(STEPS)):
        case "offer":
            name = data.draw(TOKENS)
            if name not in history.tokens:  # each token's seed is drawn once
                entry = token_entry(cluster, name, history.now)
                history.decide(offer(history.ledger, entry, history.now))
                history.tokens.add(name)
        case "join":
            entries = history.ledger.tokens
            if data.draw(st.integers(0, 3)) and entries:  # with a token that there is, by whom it is for
                entry = data.draw(st.sampled_from(entries))
                request = replace(join(entry.cluster, fresh, "", history.now), voucher_key=entry.key)
            else:
                request = join(cluster, fresh, data.draw(TOKENS), history.now)
            domain = data.draw(DOMAINS)
            history.ask(replace(request, trust_domain=domain) if domain else request)
        case "rekey":
            history.ask(rekey(cluster, own, fresh, history.now))
        case "leave":
            history.ask(leave(cluster, own, history.now))
        case "evict":
            history.decide(evict(history.ledger, cluster, history.now))
        case "revoke":
            entry = token_entry(cluster, data.draw(TOKENS))
            history.decide(revoke(history.ledger, entry.id, history.now))
        case "rotate":
            old, new = (f"authority{number or ''}" for number in (history.authority, history.authority + 1))
            history.decide(replace_authority(history.ledger, hand_over(CLUSTERSET, key(old), key(new))))
            history.authority += 1
        case "wait":
            history.now += data.draw(st.sampled_from([timedelta(seconds=30), timedelta(minutes=20), timedelta(days=8)]))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_histories(data: st.DataObject) -> None:
    """The serial grows with every change, ids, domains and keys are unique, no key is admitted twice, only pending
    tokens admit, nothing that was granted counts again, and members follow to the end."""
    history = History()
    for _ in range(data.draw(st.integers(1, 40))):
        _step(history, data)
        history.replay()

    blob = sign_roster(history.ledger.roster, key(f"authority{history.authority or ''}"))
    assert open_roster(blob, CLUSTERSET, public("authority")).roster == history.ledger.roster
    assert decode_ledger(encode_ledger(history.ledger)) == history.ledger
