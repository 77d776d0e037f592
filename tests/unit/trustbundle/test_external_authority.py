"""The authority of a cluster whose CA is elsewhere: last good, its trouble, and no certificate for anyone."""

from __future__ import annotations

from datetime import timedelta

import pytest

from federation.model.errors import TrustError
from support.certificates import make_ca
from support.clock import START
from trustbundle.authority import Svid
from trustbundle.bundle import TrustBundle
from trustbundle.external import TakenBundle
from trustbundle.external_authority import ExternalAuthority
from trustbundle.identity import SpiffeId, TrustDomain
from trustbundle.secret import SecretBytes

EAST = TrustDomain("east.test")
ECHO = SpiffeId(EAST, "/ns/demo/sa/echo")
OLD, NEW = make_ca(START, name="old"), make_ca(START, name="new", lifetime=timedelta(days=9))
FIRST = int(START.timestamp())
MINUTE = timedelta(minutes=1)


class MemoryStore:
    """A store that outlives authorities, not the process; it can be told to fail."""

    def __init__(self) -> None:
        self.taken: TakenBundle | None = None
        self.broken = False

    def load(self) -> TakenBundle | None:
        return self.taken

    def save(self, taken: TakenBundle) -> None:
        if self.broken:
            raise TrustError("the disk is full", reason="Unusable")
        self.taken = taken


def authority(store: MemoryStore | None = None) -> ExternalAuthority:
    return ExternalAuthority(EAST, "root.pem", store or MemoryStore())


def reasons(external: ExternalAuthority, minutes: int = 0) -> list[str]:
    return [problem.reason for problem in external.problems(START + minutes * MINUTE)]


def test_before_anything_was_taken_there_is_no_bundle() -> None:
    """Not an empty one, which would revoke everything: an error that names the source and what is wrong with it."""
    external = authority()
    external.fail("Unreadable", "it can't be read")

    with pytest.raises(TrustError, match=r"^own bundle from root.pem is not known yet: it can't be read$"):
        external.bundle()


def test_a_change_is_in_force_and_outlives_the_process() -> None:
    """The sequence grows, and another authority on the same store goes on with it."""
    store = MemoryStore()
    external = authority(store)

    external.offer(OLD.pem.encode(), "file", START)
    external.offer((OLD.pem + NEW.pem).encode(), "file", START)

    assert external.bundle() == TrustBundle(EAST, FIRST + 1, (OLD.der, NEW.der))
    assert authority(store).bundle() == external.bundle()
    assert reasons(external) == []


def test_a_bad_word_leaves_the_last_good_and_is_told_with_its_age() -> None:
    """An emptied file, and a store that fails, change nothing but what is said; the next good word ends it."""
    store = MemoryStore()
    external = authority(store)
    external.offer(OLD.pem.encode(), "file", START)
    good = external.bundle()

    external.offer(b"", "file", START + MINUTE)
    empty = external.problems(START + 90 * MINUTE)
    store.broken = True
    external.offer(NEW.pem.encode(), "file", START + MINUTE)
    full = reasons(external)
    after = external.bundle()
    store.broken = False
    external.offer(OLD.pem.encode(), "file", START + MINUTE)

    assert list(map(str, empty)) == [
        "own bundle from root.pem: it is empty; the bundle in force was taken 1:30:00 ago (Empty)"
    ]
    assert (full, after) == (["Unusable"], good)
    assert reasons(external) == []


def test_a_document_without_keys_revokes_and_is_told_of() -> None:
    """It is published as it is; that nothing is accepted any more is shown."""
    external = authority()
    external.offer(OLD.pem.encode(), "file", START)
    external.offer(b'{"keys": []}', "file", START)

    assert external.bundle() == TrustBundle(EAST, FIRST + 1, ())
    assert reasons(external) == ["AllRevoked"]


def test_expiry_of_all_authorities_is_told_of() -> None:
    """Not while one is in force; the next expiry is the next change."""
    external = authority()
    external.offer((OLD.pem + NEW.pem).encode(), "file", START)

    assert reasons(external, minutes=2 * 24 * 60) == []
    assert reasons(external, minutes=10 * 24 * 60) == ["Expired"]
    assert external.next_wakeup(START) == START + timedelta(days=1)
    assert external.next_wakeup(START + timedelta(days=2)) == START + timedelta(days=9)
    assert external.next_wakeup(START + timedelta(days=20)) == START + timedelta(days=20, hours=1)


def test_nobody_gets_a_certificate_and_each_who_asked_is_named() -> None:
    """The refusal, and the problem in status, say why and what to do."""
    external = authority()
    external.offer(OLD.pem.encode(), "file", START)

    for _ in range(2):
        with pytest.raises(TrustError) as caught:
            external.issue(ECHO, START)
    (problem,) = external.problems(START)

    assert caught.value.reason == "ExternalCa"
    assert (problem.subject, problem.reason) == (f"certificate of {ECHO}", "ExternalCa")
    assert problem.message == (
        "none is issued, for this cluster's CA is elsewhere; run the workload's own mesh with a certificate of that "
        "CA, or remove bundleFile and bundleEndpoint under ca in cluster.yaml"
    )


def test_others_rotate_and_revoke() -> None:
    """Asked to rotate, to taint or to renew, it says where that is done."""
    external = authority()
    svid = Svid(ECHO, "", SecretBytes(b""), START, START, START, "slot")

    for act in (
        lambda: external.request_rotation(START, urgent=True),
        lambda: external.taint(None, START),
        lambda: external.renew_after(svid),
    ):
        with pytest.raises(TrustError) as caught:
            act()
        assert caught.value.reason == "ExternalCa"
