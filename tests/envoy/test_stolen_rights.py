"""All rights on the exchange, in the hands of a member: it can't add, alter or remove a word of another.

The thief is eu-west, with its own good key and an admin's connection to Redis; the victim is us-west; everybody reads.
While calls go on, each attack must leave every reader's view as it was at every moment, be counted and named in the
status of those who read it, and be repaired by the victim where it changed what is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from redis import Redis

from support.clusterset import cli
from support.load import failures, steady_load, until
from support.processes import eventually
from support.thief import THIEF, VICTIM, Loot, Thief
from support.triangle import Site, Triangle, three_clusters

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(120)]

OTHER = "us-east"
"""Who reads, and has the authority."""
RATE = 60
LEASE_MILLISECONDS = 3000


@dataclass(frozen=True)
class Siege:
    sites: Triangle
    thief: Thief

    def site(self, name: str) -> Site:
        return self.sites.sites[name]

    def view(self, *silent: str) -> dict[str, Any]:
        """What every cluster knows and its Envoys were given, but for those whose controllers can't be asked."""
        return {
            name: (site.cluster.services(), site.endpoints(), trust(site))
            for name, site in self.sites.sites.items()
            if name not in silent
        }

    def rejected(self, reader: str, of: str, reason: str) -> int:
        return int(self.site(reader).cluster.peer(of)["rejected"].get(reason, 0))

    def last_words(self, reader: str, of: str) -> set[str]:
        return {each["reason"] for each in self.site(reader).cluster.peer(of)["lastRejections"] if each["message"]}

    def speak(self) -> None:
        """Have the victim publish two batches, the second of which takes the first one back, and wait for everybody."""
        victim, log = self.site(VICTIM), self.thief.victim.log
        for hosts in ([victim.pod.sidecar.address, victim.cluster.host(12)], [victim.pod.sidecar.address]):
            before = self.thief.redis.xlen(log)
            victim.cluster.export("later", {"http": 8199}, hosts)
            eventually(lambda before=before: self.thief.redis.xlen(log) > before, "the victim says something newer")
        head = self.thief.redis.xrevrange(log, count=1)[0][0].decode()
        for reader in (OTHER, THIEF):
            cluster = self.site(reader).cluster
            eventually(lambda cluster=cluster: cluster.peer(VICTIM)["version"] == head, f"{reader} has heard it")
            eventually(lambda cluster=cluster: "later" in cluster.services(), f"{reader} imports it")

    def rosters_rejected(self, reason: str) -> list[int]:
        """By every member."""
        return [
            int(site.cluster.status()["membership"]["rejected"].get(reason, 0)) for site in self.sites.sites.values()
        ]

    def republished(self, name: str) -> int:
        return int(self.site(name).cluster.status()["republished"])


def trust(site: Site) -> tuple[set[str], list[tuple[str, bool]]]:
    """The CA certificates in the Envoy, and whom the controller trusts."""
    found = site.pod.sidecar.admin.read("/certs")["certificates"]
    roots = {one["serial_number"] for entry in found for one in entry.get("ca_cert", ())}
    return roots, [(peer["cluster"], peer["trusted"]) for peer in site.cluster.status()["peers"]]


@pytest.fixture(scope="module")
def siege(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Siege]:
    """Three clusters that call one another, and a thief who has watched the victim for a while."""
    with three_clusters(tmp_path_factory.mktemp("rights")) as sites:
        sites.restore()
        assert sites.set.redis is not None
        with Redis.from_url(sites.set.redis.url) as redis:
            siege = Siege(sites, Thief(redis, sites.sites[THIEF]))
            loot(siege)
            yield siege


def loot(siege: Siege) -> None:
    """Keep what the victim says, and have it say something newer."""
    thief = siege.thief
    roster = thief.redis.get(thief.roster)
    assert roster is not None
    done = cli("rotate", "member-key", "--dir", str(siege.site(OTHER).cluster.directory))
    assert done.returncode == 0, done.stderr
    snapshot, lease = thief.snapshot(), thief.redis.get(thief.victim.lease)
    assert lease is not None
    siege.speak()
    _, fields = thief.redis.xrange(thief.victim.log)[0]
    eventually(lambda: thief.snapshot().manifest != snapshot.manifest, "the snapshot has what is new")
    thief.loot = Loot(snapshot, lease, fields[b"b"], roster)


@asynccontextmanager
async def nobody_notices(siege: Siege, *silent: str) -> AsyncIterator[None]:
    """Calls go on and every view stays as it was, at each moment of the context."""
    before = siege.view(*silent)
    seen: list[dict[str, Any]] = []

    async def watch() -> None:
        while True:
            seen.append(await asyncio.to_thread(siege.view, *silent))
            await asyncio.sleep(0.02)

    async with steady_load(siege.sites.targets(RATE)) as outcomes:
        watching = asyncio.ensure_future(watch())
        try:
            yield
            looks = len(seen) + 3
            await until(lambda: watching.done() or len(seen) >= looks, "views are read")
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
    for view in seen:
        assert view == before
    assert failures(outcomes) == {}


SENT: dict[Callable[[Thief], None], str] = {
    Thief.send_garbage: "Malformed",
    Thief.send_a_forged_batch: "BadSignature",
    Thief.send_a_forged_lease: "BadSignature",
    Thief.send_an_own_batch_as_the_victims: "WrongMember",
    Thief.send_an_oversized_batch: "Oversized",
    Thief.send_a_batch_of_another_clusterset: "WrongClusterset",
    Thief.send_a_batch_of_an_unknown_schema: "UnknownSchema",
    Thief.send_an_old_batch: "Replayed",
    Thief.send_an_old_lease: "Replayed",
}

STORED: dict[Callable[[Thief], None], tuple[str, bool]] = {
    Thief.store_a_forged_snapshot: ("BadSignature", True),
    Thief.store_a_forged_lease: ("BadSignature", False),
    Thief.store_an_old_snapshot: ("Replayed", True),
    Thief.store_an_old_lease: ("Replayed", False),
    Thief.swap_the_victims_keys_with_its_own: ("WrongMember", True),
}
"""With the reason that readers give, and whether the victim has to publish everything again."""

ALTERED = (
    Thief.add_a_forged_batch_to_the_log,
    Thief.add_an_old_batch_to_the_log,
    Thief.delete_the_log,
    Thief.delete_the_manifest,
    Thief.delete_a_shard,
    Thief.delete_everything,
    # Found by the look at the whole that is taken each half minute.
    pytest.param(Thief.alter_a_shard, marks=pytest.mark.soak),
)


ROSTERS: dict[Callable[[Thief], None], str] = {
    Thief.put_up_garbage: "Malformed",
    Thief.put_up_a_roster_of_its_own: "BadSignature",
    Thief.put_up_a_handover_to_itself: "BadSignature",
    Thief.put_up_an_altered_roster: "BadSignature",
    Thief.put_up_a_roster_of_another_clusterset: "WrongClusterset",
    Thief.put_up_an_old_roster: "Replayed",
    Thief.put_up_an_oversized_roster: "Oversized",
    Thief.put_up_a_roster_of_an_unknown_schema: "UnknownSchema",
}


def name_of(value: object) -> str:
    return getattr(value, "__name__", "").replace("_", " ")


@pytest.mark.parametrize("attack", SENT, ids=name_of)
async def test_what_is_sent_in_anothers_name_is_refused_and_named(
    siege: Siege, attack: Callable[[Thief], None]
) -> None:
    """A message on the victim's channel changes nothing; every reader counts it under its reason."""
    reason = SENT[attack]
    before = {reader: siege.rejected(reader, VICTIM, reason) for reader in (OTHER, THIEF)}
    async with nobody_notices(siege):
        attack(siege.thief)
        for reader, count in before.items():
            await until(
                lambda reader=reader, count=count: siege.rejected(reader, VICTIM, reason) == count + 1,
                f"{reader} counts {reason}",
            )
            assert reason in siege.last_words(reader, VICTIM)


@pytest.mark.parametrize("attack", STORED, ids=name_of)
async def test_what_is_stored_in_anothers_name_is_refused_and_named(
    siege: Siege, attack: Callable[[Thief], None]
) -> None:
    """While the victim's controller can't defend its keys, readers are made to read them: they count what they find,
    and keep what they know; when it can, it publishes again what was changed."""
    reason, repaired = STORED[attack]
    before, published = siege.rejected(OTHER, VICTIM, reason), siege.republished(VICTIM)
    defender = siege.site(VICTIM).cluster.controller
    async with nobody_notices(siege, VICTIM):
        defender.freeze()
        try:
            attack(siege.thief)
            await until(lambda: siege.rejected(OTHER, VICTIM, reason) > before, f"{OTHER} counts {reason}")
            assert reason in siege.last_words(OTHER, VICTIM)
        finally:
            defender.thaw()
        await until(
            lambda: siege.republished(VICTIM) == published + repaired and siege.site(OTHER).all_live(),
            "the victim's word is restored",
        )


@pytest.mark.parametrize("attack", ALTERED, ids=name_of)
async def test_what_is_altered_is_published_again(siege: Siege, attack: Callable[[Thief], None]) -> None:
    """The victim notices at its next beat or look that what is stored is not what it wrote; its status says so."""
    siege.speak()
    before = siege.republished(VICTIM)
    async with nobody_notices(siege):
        attack(siege.thief)
        await until(lambda: siege.republished(VICTIM) == before + 1, "the victim has published again")
        await until(siege.site(OTHER).all_live, f"{OTHER} hears it")


@pytest.mark.parametrize(
    "attack",
    [Thief.delete_the_lease, Thief.make_the_lease_longer, Thief.make_the_lease_shorter],
    ids=name_of,
)
async def test_a_lease_is_the_victims_to_renew(siege: Siege, attack: Callable[[Thief], None]) -> None:
    """Whatever is done to the lease's life, the next beat makes it what it was."""
    thief = siege.thief
    async with nobody_notices(siege):
        attack(thief)
        await until(lambda: 0 < thief.redis.pttl(thief.victim.lease) <= LEASE_MILLISECONDS, "the lease is as it was")
        assert siege.site(OTHER).all_live()


async def test_anothers_bundle_is_refused_in_the_thiefs_own_records(siege: Siege) -> None:
    """With its own good key and under its own name, a member can't speak for another's trust domain."""
    reason = "WrongTrustDomain"
    before = {reader: siege.rejected(reader, THIEF, reason) for reader in (OTHER, VICTIM)}
    async with nobody_notices(siege):
        siege.thief.send_the_victims_bundle_as_its_own()
        for reader, count in before.items():
            await until(
                lambda reader=reader, count=count: siege.rejected(reader, THIEF, reason) == count + 1,
                f"{reader} counts {reason}",
            )
            await until(siege.site(reader).all_live, f"{reader} finds all live")


@pytest.mark.parametrize("attack", ROSTERS, ids=name_of)
async def test_a_roster_is_the_authoritys_alone(siege: Siege, attack: Callable[[Thief], None]) -> None:
    """Nobody comes in, is put out or gets another key by it; every member counts it under its reason."""
    reason = ROSTERS[attack]
    before = siege.rosters_rejected(reason)
    async with nobody_notices(siege):
        attack(siege.thief)
        await until(
            lambda: siege.rosters_rejected(reason) == [count + 1 for count in before], f"all members count {reason}"
        )


async def test_a_deleted_roster_is_put_up_again(siege: Siege) -> None:
    """That there is none puts nobody out, and the authority's cluster puts it back."""
    thief = siege.thief
    async with nobody_notices(siege):
        thief.redis.delete(thief.roster)
        thief.redis.publish(thief.roster, b"")
        await until(lambda: thief.redis.get(thief.roster) == thief.known_roster().blob, "the roster is back")


def test_status_names_all_of_it(siege: Siege) -> None:
    """The command line shows the attempts to a person: at the readers by reason, at the victim as losses."""
    siege.thief.put_up_garbage()
    siege.thief.send_a_forged_batch()
    siege.thief.delete_the_manifest()
    reader, victim = (siege.site(name).cluster for name in (OTHER, VICTIM))
    eventually(lambda: siege.republished(VICTIM) > 0, "the victim has published again")
    eventually(lambda: siege.rejected(OTHER, VICTIM, "BadSignature") > 0, f"{OTHER} counts")
    eventually(lambda: min(siege.rosters_rejected("Malformed")) > 0, "all count the roster")
    at_reader = cli("status", "--dir", str(reader.directory)).stdout
    at_victim = cli("status", "--dir", str(victim.directory)).stdout
    assert "rosters in the exchange rejected" in at_reader
    assert f"rejected from {VICTIM}: batch is not signed with the key of {VICTIM} (BadSignature)" in at_reader
    assert "lost or changed our records" in at_victim
