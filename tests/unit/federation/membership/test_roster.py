"""The roster: whose word it is, who speaks for the authority, and that nobody is ever taken back in time."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.membership.roster import (
    MAX_HANDOVERS,
    Handover,
    KnownRoster,
    Roster,
    RosterMember,
    accept_roster,
    hand_over,
    has_room,
    open_roster,
    sign_roster,
)
from federation.membership.statements import Kind, sign_statement
from federation.model.errors import WireError
from federation.model.names import ClusterId
from federation.model.records import Member
from federation.model.sizes import MAX_ROSTER_BYTES
from support.membership_values import CLUSTERSET, EAST, NOW, WEST, key, public, roster_member

GOLDEN = Path(__file__).parent / "statement_schemas" / "schema-1"
UNTIL = NOW + timedelta(minutes=5)
FULL = Roster(
    CLUSTERSET,
    7,
    EAST,
    (
        roster_member(EAST),
        replace(roster_member(WEST, "fresh"), retiring_key=public("west"), retiring_until=UNTIL),
    ),
    (hand_over(CLUSTERSET, key("a"), key("b")), hand_over(CLUSTERSET, key("b"), key("c"))),
)
PLAIN = Roster(CLUSTERSET, 1, EAST, (roster_member(EAST),))


def crowd(count: int) -> Roster:
    """A roster of so many members with long names."""
    members = (
        RosterMember(ClusterId(f"{number:063}"), f"{number:0255}", number.to_bytes(32, "big"), NOW)
        for number in range(count)
    )
    return Roster(CLUSTERSET, 1, EAST, tuple(members))


def opened(roster: Roster, signer: str = "a", trusted: str = "a") -> KnownRoster:
    return open_roster(sign_roster(roster, key(signer)), CLUSTERSET, public(trusted))


def refusal(blob: bytes, trusted: str = "a") -> WireError:
    with pytest.raises(WireError) as caught:
        open_roster(blob, CLUSTERSET, public(trusted))
    return caught.value


def not_accepted(blob: bytes, known: KnownRoster) -> WireError:
    with pytest.raises(WireError) as caught:
        accept_roster(blob, known)
    return caught.value


def chain(*names: str) -> tuple[Handover, ...]:
    """Handovers from each key to the next."""
    return tuple(hand_over(CLUSTERSET, key(old), key(new)) for old, new in pairwise(names))


def with_chain(*names: str, serial: int = 1) -> Roster:
    return replace(PLAIN, serial=serial, handovers=chain(*names))


def test_a_roster_reads_back() -> None:
    """Members read what the authority signed, and know its present key."""
    blob = sign_roster(FULL, key("c"))
    assert KnownRoster(public("c"), FULL, blob) == open_roster(blob, CLUSTERSET, public("a"))


def test_rosters_are_read_for_ever() -> None:
    """Bytes of the version in which rosters were new mean what they meant, and are what is written now."""
    blob = bytes.fromhex((GOLDEN / "roster.hex").read_text())
    assert open_roster(blob, CLUSTERSET, public("a")).roster == FULL
    assert blob == sign_roster(FULL, key("c"))


def test_a_retiring_key_counts_for_a_while() -> None:
    """The key before is believed until its time, not at it."""
    member = FULL.members[1]
    both = Member(WEST, "west.example", public("fresh"), public("west"))
    assert [both, replace(both, retiring_key=None)] == [member.at(UNTIL - timedelta(seconds=1)), member.at(UNTIL)]
    assert (FULL.members[0].at(UNTIL), member.at(UNTIL)) == FULL.at(UNTIL)
    assert (FULL.next_change(NOW), FULL.next_change(UNTIL)) == (UNTIL, None)


def test_members_are_found_by_name() -> None:
    """A roster knows its members, and no others."""
    assert (FULL.members[1], None) == (FULL.member(WEST), FULL.member(ClusterId("north")))


def test_every_change_has_its_serial() -> None:
    """A change of members, and one of the authority's key, makes the serial grow by one; members stay sorted."""
    changed = PLAIN.with_members([roster_member(WEST), roster_member(EAST)])
    assert (changed.serial, [member.cluster for member in changed.members]) == (2, [EAST, WEST])
    assert changed.with_handover(chain("a", "b")[0]) == replace(changed, serial=3, handovers=chain("a", "b"))


def test_the_latest_handovers_are_kept() -> None:
    """No more handovers are carried than members read."""
    names = [f"k{number}" for number in range(MAX_HANDOVERS + 5)]
    roster = PLAIN
    for step in chain(*names):
        roster = roster.with_handover(step)
    assert chain(*names[-MAX_HANDOVERS - 1 :]) == roster.handovers
    assert public(names[-1]) == opened(roster, names[-1], names[-MAX_HANDOVERS - 1]).authority_key
    assert refusal(sign_roster(roster, key(names[-1])), names[0]).reason == "BadSignature"


def test_too_many_handovers() -> None:
    """Who sends handovers without end is not followed: they cost time before it is known who sent them."""
    error = refusal(sign_roster(replace(PLAIN, handovers=chain("a", "b") * (MAX_HANDOVERS + 1)), key("b")))
    assert (error.reason, str(error)) == ("Invalid", "roster has 33 handovers, more than 32")


@pytest.mark.parametrize(
    ("signer", "roster"),
    [
        ("b", PLAIN),
        ("a", with_chain("a", "b")),
        ("c", with_chain("b", "c")),
        ("b", with_chain("b", "a")),
        ("b", replace(PLAIN, handovers=(replace(chain("a", "b")[0], old_signature=b"\0" * 64),))),
        ("b", replace(PLAIN, handovers=(replace(chain("a", "b")[0], new_signature=b"\0" * 64),))),
        ("b", replace(PLAIN, handovers=(replace(chain("a", "c")[0], new=public("b")),))),
        ("b", replace(PLAIN, handovers=(hand_over("prod", key("a"), key("b")),))),
        ("c", replace(PLAIN, handovers=tuple(reversed(chain("a", "b", "c"))))),
        ("x", replace(PLAIN, handovers=(*chain("a", "b"), *chain("a", "x")))),
        ("a", with_chain("a", "b", "a", "b")),
    ],
    ids=[
        "no handover",
        "key handed over before",
        "from a stranger",
        "backwards",
        "not by the old key",
        "not by the new key",
        "to another key",
        "of another clusterset",
        "in another order",
        "a second heir",
        "in a circle",
    ],
)
def test_who_does_not_speak_for_the_authority(signer: str, roster: Roster) -> None:
    """A roster counts under the key that the trusted one was handed over to, in order, and under no other."""
    error = refusal(sign_roster(roster, key(signer)))
    assert (error.reason, str(error)) == (
        "BadSignature",
        "roster is not signed with the key of the clusterset's authority",
    )


def test_a_stolen_former_key_is_worth_nothing() -> None:
    """Who has the key before can neither sign for, nor name an heir to, members that know its successor."""
    known = opened(with_chain("a", "b"), "b")
    for roster, signer in (
        (replace(PLAIN, serial=9), "a"),
        (with_chain("a", "x", serial=9), "x"),
        (replace(PLAIN, serial=9, handovers=(*chain("a", "x"), *chain("a", "b"))), "x"),
        (replace(PLAIN, serial=9, handovers=(*chain("a", "b"), *chain("a", "x"))), "x"),
    ):
        assert not_accepted(sign_roster(roster, key(signer)), known).reason == "BadSignature"


@pytest.mark.parametrize("kind", [Kind.REQUEST, Kind.ANSWER, Kind.HANDOVER])
def test_another_statement_is_no_roster(kind: Kind) -> None:
    """What the authority signed as something else is no roster."""
    body = msgspec.msgpack.decode(sign_roster(PLAIN, key("a")))[0]
    assert refusal(sign_statement(kind, body, [key("a")])).reason == "BadSignature"


def test_one_signature() -> None:
    """A roster has one signature: a second one makes it another statement."""
    body = msgspec.msgpack.decode(sign_roster(PLAIN, key("a")))[0]
    assert refusal(sign_statement(Kind.ROSTER, body, [key("a"), key("a")])).reason == "BadSignature"
    assert refusal(sign_statement(Kind.ROSTER, body, [])).reason == "BadSignature"


def test_another_clusterset() -> None:
    """A roster of another clusterset is refused, whoever signed it."""
    error = refusal(sign_roster(replace(PLAIN, clusterset="prod"), key("a")))
    assert (error.reason, str(error)) == ("WrongClusterset", "roster is of clusterset 'prod'")


MEMBER: list[object] = ["east", "east.example", public("east"), 1_767_268_800]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ([2, "new"], "UnknownSchema"),
        ([1, CLUSTERSET], "Malformed"),
        ([1, CLUSTERSET, "1", "east", [], []], "Malformed"),
        ([1, CLUSTERSET, 1, "east", [[*MEMBER[:3], 2**62]], []], "Malformed"),
        ([1, CLUSTERSET, 1, "east", [[*MEMBER[:3], -(2**62)]], []], "Malformed"),
        ([1, CLUSTERSET, 1, "east", [[*MEMBER, public("old"), 2**64 - 1]], []], "Malformed"),
    ],
)
def test_unreadable_rosters(body: list[object], reason: str) -> None:
    """A roster of another shape, or with times that are none, is refused."""
    assert refusal(sign_statement(Kind.ROSTER, msgspec.msgpack.encode(body), [key("a")])).reason == reason


def test_a_roster_may_have_grown() -> None:
    """Fields that a newer version adds at the end, of the roster or of a member, are passed over."""
    body = msgspec.msgpack.encode([1, CLUSTERSET, 1, "east", [[*MEMBER, None, None, "new"]], [], "new"])
    assert open_roster(sign_statement(Kind.ROSTER, body, [key("a")]), CLUSTERSET, public("a")).roster == PLAIN


def test_a_roster_has_a_limit() -> None:
    """More than 1 MiB is not looked into."""
    assert refusal(b"\0" * (MAX_ROSTER_BYTES + 1)).reason == "Oversized"


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ([roster_member(EAST), replace(roster_member(EAST, "b"), trust_domain="b.example")], "names one cluster twice"),
        (
            [roster_member(EAST), replace(roster_member(WEST), trust_domain="east.example")],
            "names one trust domain twice",
        ),
        ([roster_member(EAST), roster_member(WEST, "east")], "names one member key twice"),
        (
            [roster_member(EAST), replace(roster_member(WEST), retiring_key=public("east"))],
            "names one member key twice",
        ),
        ([replace(roster_member(EAST), retiring_key=public("east"))], "names one member key twice"),
        ([roster_member(ClusterId("East"))], "names a cluster that is no DNS label"),
        ([roster_member(ClusterId("a.b"))], "names a cluster that is no DNS label"),
        ([replace(roster_member(EAST), trust_domain="é.example")], "names a trust domain that is none of SPIFFE's"),
        ([replace(roster_member(EAST), trust_domain="a/b")], "names a trust domain that is none of SPIFFE's"),
        ([replace(roster_member(EAST), public_key=b"short")], "holds a key that is no Ed25519 key"),
        ([replace(roster_member(EAST), retiring_key=b"")], "holds a key that is no Ed25519 key"),
    ],
)
def test_rosters_that_no_authority_writes(members: list[RosterMember], text: str) -> None:
    """A roster that would let two members be taken for one is refused, though the authority signed it."""
    error = refusal(sign_roster(replace(PLAIN, members=tuple(members)), key("a")))
    assert error.reason == "Invalid"
    if "East" not in str(members):
        assert str(error) == f"roster 1 {text}"


@pytest.mark.parametrize(
    ("roster", "text"),
    [
        (replace(PLAIN, serial=-1), "roster -1 has a negative serial number"),
        (replace(PLAIN, seat=ClusterId("")), "roster 1 names a seat that is no DNS label"),
    ],
)
def test_rosters_with_a_bad_head(roster: Roster, text: str) -> None:
    """Serial and seat have their form."""
    assert str(refusal(sign_roster(roster, key("a")))) == text


def test_a_newer_roster_is_accepted() -> None:
    """A roster with a greater serial takes the place of the known one, also past several handovers."""
    known = opened(PLAIN)
    newer = sign_roster(with_chain("a", "b", "c", serial=4), key("c"))
    assert accept_roster(newer, known) == open_roster(newer, CLUSTERSET, public("a"))


def test_the_same_roster_changes_nothing() -> None:
    """The known roster is accepted again, also where its bytes are wrapped in another way."""
    known = opened(PLAIN)
    assert accept_roster(known.blob, known) is known
    assert accept_roster(msgspec.msgpack.encode([*msgspec.msgpack.decode(known.blob), "more"]), known) is known


def test_an_older_roster() -> None:
    """Nobody is taken back in time."""
    error = not_accepted(sign_roster(PLAIN, key("a")), opened(replace(PLAIN, serial=2)))
    assert (error.reason, str(error)) == ("Replayed", "roster has serial 1, known is 2")


def test_two_rosters_of_one_serial() -> None:
    """An authority that says two things at once is believed the first."""
    error = not_accepted(sign_roster(replace(PLAIN, members=()), key("a")), opened(PLAIN))
    assert (error.reason, str(error)) == (
        "Replayed",
        "roster says something else than the known one with the same serial 1",
    )


def _published() -> list[bytes]:
    """What an authority publishes in its life: members come and go, and its key is replaced twice."""
    roster, signer = PLAIN, "a"
    blobs = [sign_roster(roster, key(signer))]
    for number in range(12):
        if number in {4, 8}:
            fresh = {"a": "b", "b": "c"}[signer]
            roster, signer = roster.with_handover(chain(signer, fresh)[0]), fresh
        else:
            roster = roster.with_members([roster_member(EAST), roster_member(ClusterId(f"c{number}"))])
        blobs.append(sign_roster(roster, key(signer)))
    return blobs


PUBLISHED = _published()


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(PUBLISHED) - 1), st.one_of(st.just(None), st.integers(0, 200))), max_size=30)
)
def test_whatever_is_seen_of_them_the_newest_counts(seen: list[tuple[int, int | None]]) -> None:
    """From any shuffled, repeated and cut part of the published rosters, a member ends at the newest whole one."""
    known = opened(PLAIN)
    newest = 1
    for index, cut in seen:
        before = known.roster.serial
        try:
            known = accept_roster(PUBLISHED[index][:cut], known)
        except WireError:
            assert cut is not None or index + 1 < newest
        if cut is None:
            newest = max(newest, index + 1)
        assert known.roster.serial >= before
    assert known.roster.serial == newest


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_byte_may_differ(data: st.DataObject) -> None:
    """A roster in which a bit was changed is refused."""
    known = opened(PLAIN)
    blob = bytearray(PUBLISHED[1])
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(WireError):
        accept_roster(bytes(blob), known)


def test_a_roster_that_has_room_is_read_whatever_becomes_of_its_keys() -> None:
    """The largest one that has room is within the bound with a former key of every member and all handovers; the next
    one need not be, and one that is far too large has none."""
    largest = bisect_left(range(4000), True, key=lambda count: not has_room(crowd(count))) - 1
    roster = crowd(largest)
    members = tuple(
        replace(member, retiring_key=bytes(31) + b"r", retiring_until=UNTIL.replace(year=2500))
        for member in roster.members
    )
    handover = Handover(bytes(32), bytes(32), bytes(64), bytes(64))
    blob = sign_roster(replace(roster, serial=2**62, members=members, handovers=(handover,) * MAX_HANDOVERS), key("a"))
    assert MAX_ROSTER_BYTES * 0.95 < len(blob) <= MAX_ROSTER_BYTES
    assert [has_room(crowd(count)) for count in (largest + 1, 4000)] == [False, False]
