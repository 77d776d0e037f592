"""The journal: what it remembers over a restart, and that it never starts anew by itself."""

from __future__ import annotations

import json
from datetime import timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from controllers.journal import Journal
from controllers.revocations import Revocations
from federation.model.addresses import HostPort
from federation.model.errors import ConfigError
from support.builders import ECHO, key
from support.clock import START
from support.control import FlakyJournal
from trustbundle.generation import TrustGeneration
from trustbundle.identity import TrustDomain

WEB = key("demo/web")
VIPS = {ECHO: IPv4Address("240.96.0.1"), WEB: IPv4Address("240.96.0.2")}
LATER = START + timedelta(hours=1)
NORTH, WEST = TrustDomain("north.test"), TrustDomain("west.test")


def test_a_new_journal_is_empty_and_writes_nothing(tmp_path: Path) -> None:
    """Where no journal is, there is nothing to remember, and no file before there is."""
    journal = Journal(tmp_path)
    journal.see([], [ECHO], START)
    journal.assign({})
    journal.save()
    assert (dict(journal.vips), dict(journal.first_seen), list(tmp_path.iterdir())) == ({}, {}, [])


def test_both_tables_survive_a_restart(tmp_path: Path) -> None:
    """Addresses and dates are read back as they were written, whichever was written last."""
    journal = Journal(tmp_path)
    journal.see([ECHO], [], START)
    journal.assign(VIPS)
    journal.save()
    journal.see([WEB], [], LATER)
    journal.save()
    read = Journal(tmp_path)
    assert (read.vips, read.first_seen) == (VIPS, {ECHO: START, WEB: LATER})


def test_the_first_sight_counts_until_the_export_is_gone(tmp_path: Path) -> None:
    """Seen again an export keeps its date; gone and come back it has a new one."""
    journal = Journal(tmp_path)
    journal.see([ECHO, WEB], [], START)
    journal.see([ECHO], [WEB], LATER)
    assert journal.first_seen == {ECHO: START}
    journal.see([], [ECHO], LATER)
    journal.see([ECHO], [], LATER)
    assert journal.first_seen == {ECHO: LATER}


def test_what_could_not_be_written_is_remembered_and_written_later(tmp_path: Path) -> None:
    """Where the disk is full, the journal in memory goes on, and the file is as it was until a write succeeds."""
    journal = FlakyJournal(tmp_path)
    journal.see([ECHO], [], START)
    journal.save()
    journal.broken = True
    journal.see([WEB], [], LATER)
    journal.assign(VIPS)
    with pytest.raises(OSError, match="no space"):
        journal.save()
    assert (journal.first_seen, journal.vips, journal.unsaved) == ({ECHO: START, WEB: LATER}, VIPS, True)
    assert (Journal(tmp_path).first_seen, Journal(tmp_path).vips) == ({ECHO: START}, {})
    journal.broken = False
    journal.save()
    assert (Journal(tmp_path).first_seen, Journal(tmp_path).vips) == ({ECHO: START, WEB: LATER}, VIPS)
    assert journal.unsaved is False


def test_the_file_is_private_and_leaves_no_other(tmp_path: Path) -> None:
    """One file of mode 0600, also where a crash left an unfinished one."""
    (tmp_path / ".journal.json.new").write_text("half a jour")
    journal = Journal(tmp_path)
    journal.assign(VIPS)
    journal.save()
    (file,) = tmp_path.iterdir()
    assert (file.name, oct(file.stat().st_mode & 0o777)) == ("journal.json", "0o600")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"vips": {}}',
        '{"vips": {}, "first_seen": {}, "more": 1}',
        '{"vips": {"demo": "240.96.0.1"}, "first_seen": {}}',
        '{"vips": {"demo/echo": "240.96.0"}, "first_seen": {}}',
        '{"vips": {}, "first_seen": {"demo/echo": "yesterday"}}',
        '{"vips": {}, "first_seen": {"Demo/echo": "2026-01-01T00:00:00Z"}}',
    ],
)
def test_a_journal_that_cannot_be_read_is_an_error(tmp_path: Path, text: str) -> None:
    """Starting anew would move addresses, so that is left to a person."""
    (tmp_path / "journal.json").write_text(text)
    with pytest.raises(ConfigError, match=r"journal .*journal\.json can't be read") as caught:
        Journal(tmp_path)
    assert "remove it" in caught.value.hint


def test_an_unreadable_file_is_an_error(tmp_path: Path) -> None:
    """Only a file that is not there counts as none."""
    (tmp_path / "journal.json").mkdir()
    with pytest.raises(ConfigError, match="can't be read"):
        Journal(tmp_path)


def test_the_file_is_sorted_text(tmp_path: Path) -> None:
    """What a person or a backup sees does not depend on the order of events."""
    journal = Journal(tmp_path)
    journal.assign({WEB: VIPS[WEB], ECHO: VIPS[ECHO]})
    journal.save()
    document = json.loads((tmp_path / "journal.json").read_text())
    assert list(document["vips"]) == ["demo/echo", "demo/web"]


def test_what_was_revoked_survives_a_restart(tmp_path: Path) -> None:
    """Generation, what was trusted, what had to end and what is held back are read back, beside the other tables."""
    revocations = Revocations(
        TrustGeneration(2, {WEST: {"ab": None, "cd": START}}, {WEST: LATER, NORTH: START}, frozenset({WEST, NORTH})),
        everywhere=1,
        services={ECHO: 2},
        owed={NORTH: None, WEST: frozenset({ECHO, WEB})},
    )
    journal = Journal(tmp_path)
    journal.revoke(revocations)
    journal.assign(VIPS)
    journal.save()
    assert (Journal(tmp_path).revocations, Journal(tmp_path).vips) == (revocations, VIPS)


def test_whose_ca_keys_are_survives_a_restart(tmp_path: Path) -> None:
    """Or another member could take them, by its place in the alphabet."""
    claims = {WEST: frozenset({b"\x01\xff", b"\x00"}), NORTH: frozenset[bytes]()}
    journal = Journal(tmp_path)
    journal.claim(claims)
    journal.save()
    assert Journal(tmp_path).claims == claims


def test_a_journal_from_before_revocations_is_read(tmp_path: Path) -> None:
    """It tells of none, and what is trusted next is trusted for the first time."""
    (tmp_path / "journal.json").write_text('{"vips": {"demo/echo": "240.96.0.1"}, "first_seen": {}}')
    assert (Journal(tmp_path).revocations, Journal(tmp_path).claims) == (Revocations(), {})


def test_addresses_that_others_remember_are_not_written(tmp_path: Path) -> None:
    """The journal goes by them, and what it writes has none."""
    journal = Journal(tmp_path)
    journal.take_vips(VIPS)
    journal.see([ECHO], [], START)
    journal.save()

    assert (journal.vips, Journal(tmp_path).vips) == (VIPS, {})


def test_what_another_process_has_written_is_taken_over(tmp_path: Path) -> None:
    """But for the addresses, where somebody else allocates them."""
    journal, other, keeps = Journal(tmp_path), Journal(tmp_path), Journal(tmp_path)
    keeps.take_vips({})
    other.see([ECHO], [], START)
    other.assign(VIPS)
    other.save()
    for one in (journal, keeps):
        one.reload()

    assert (journal.first_seen, journal.vips, journal.unsaved) == ({ECHO: START}, VIPS, False)
    assert (keeps.first_seen, keeps.vips) == ({ECHO: START}, {})


def test_where_the_gateways_were_is_remembered_where_it_was_told(tmp_path: Path) -> None:
    """Of either family; where settings say it nothing is written of it, and an older controller can read the rest."""
    journal = Journal(tmp_path)
    journal.assign(VIPS)
    journal.save()
    before = json.loads((tmp_path / "journal.json").read_text())
    addresses = (HostPort("192.0.2.1", 15443), HostPort("2001:db8::1", 15443))
    other = Journal(tmp_path)
    journal.place_gateways(addresses)
    journal.save()
    other.reload()

    assert "gateway_addresses" not in before
    assert (other.gateway_addresses, Journal(tmp_path).gateway_addresses) == (addresses, addresses)


def test_what_names_of_gateways_resolved_to_survives_a_restart(tmp_path: Path) -> None:
    """A start without DNS has a way to the peers; before any name is known, the file is as older releases read it."""
    journal = Journal(tmp_path)
    journal.place_gateways((HostPort("lb.example.com", 443),))
    journal.save()
    assert "gateway_names" not in (tmp_path / "journal.json").read_text()
    journal.resolve({"west.example": ("192.0.2.1", "192.0.2.2")})
    journal.save()
    again = Journal(tmp_path)

    assert again.gateway_names == {"west.example": ("192.0.2.1", "192.0.2.2")}
    assert again.gateway_addresses == (HostPort("lb.example.com", 443),)


def test_what_another_process_resolved_counts_where_nothing_else_is_known(tmp_path: Path) -> None:
    """Each controller has a resolver of its own."""
    ours, others = Journal(tmp_path), Journal(tmp_path)
    ours.resolve({"west.example": ("192.0.2.1",)})
    others.resolve({"west.example": ("192.0.2.9",), "north.example": ("192.0.2.8",)})
    others.save()
    ours.reload()

    assert ours.gateway_names == {"west.example": ("192.0.2.1",), "north.example": ("192.0.2.8",)}
