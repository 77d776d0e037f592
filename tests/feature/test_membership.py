"""The life of a membership, command by command as a user types them, with real controllers and a real exchange."""

from __future__ import annotations

import asyncio
import os
import shlex
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from federation.app import joining
from federation.app.cluster_file import Place
from federation.app.refused import RefusedError
from federation.exchange.server import EmbeddedRedis
from federation.membership.join_token import JoinToken, encode_token, parse_token
from support.membership_site import Site, plain_site, secure_site
from support.processes import REPOSITORY, eventually, federation_command, python_environment

pytestmark = pytest.mark.timeout(120)

BOUND_SECONDS = 10.0
"""A join takes no longer, and so long after a departure nothing is left of who went."""


def see_one_another(site: Site, *clusters: str) -> bool:
    return all(
        {peer.cluster for peer in site.status(here).peers if peer.trusted} == {*clusters} - {here} for here in clusters
    )


def serial(site: Site, cluster: str) -> int:
    membership = site.status(cluster).membership
    return membership.serial if membership is not None else -1


def gone(site: Site, cluster: str, *others: str) -> bool:
    """Out of the exchange, of every other member's roster, disk and status."""
    return (
        site.traces(cluster) == []
        and all(cluster not in site.members(other) for other in others)
        and all(cluster not in [peer.cluster for peer in site.status(other).peers] for other in others)
    )


def refusal(site: Site, cluster: str, token: str, *options: str) -> str:
    """What a join that is refused says; it leaves nothing behind."""
    before = files_of(site.directory(cluster))
    result = site.join(cluster, token, *options)
    assert (result.returncode in {1, 2}, result.stdout) == (True, ""), result.stderr
    assert token.strip() not in result.stderr
    assert files_of(site.directory(cluster)) == before
    return result.stderr


def files_of(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_membership_with_users_in_the_exchange_from_founding_to_eviction(tmp_path: Path) -> None:
    """TLS, a user per cluster: who joins is seen within the bound, survives new keys and a restart of everything, and
    is gone without a trace within the bound once it left or was evicted; so can it come back with a new token."""
    with secure_site(tmp_path) as site:
        assert site.init("east") == "clusterset acme founded, east is its first member"
        assert site.init("east") == "clusterset acme founded, east is its first member"
        site.start("east")
        token = site.token("east", "west")
        begun = time.monotonic()
        assert site.join("west", token).returncode == 0
        assert time.monotonic() - begun < BOUND_SECONDS
        site.start("west")
        eventually(lambda: see_one_another(site, "east", "west"), "east and west see one another")
        private = [tmp_path / "west" / name for name in ("member.key", "exchange.credentials", "state/roster")]
        private += [tmp_path / "east" / "authority" / name for name in ("ledger.json", "exchange.credentials")]
        assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}

        again = site.join("west", token)
        assert (again.returncode, "is a member of clusterset acme already" in again.stderr) == (0, True)
        assert "the token for west was used already, or was revoked" in refusal(site, "double", token)

        keys = site.key("west", at="east")
        site.done("rotate", "member-key", "--dir", "west")
        site.done("rotate", "authority", "--dir", "east")
        eventually(lambda: site.key("west", at="east") != keys, "east knows west's new key")
        eventually(lambda: serial(site, "west") == serial(site, "east"), "west has followed")
        for cluster in ("east", "west"):
            assert site.controllers[cluster].terminate() == 0
        for cluster in ("east", "west"):
            site.start(cluster)
        eventually(lambda: see_one_another(site, "east", "west"), "they see one another after a restart")

        assert site.done("leave", "--dir", "west") == "west has left clusterset acme"
        eventually(lambda: gone(site, "west", "east"), "west has left no trace", seconds=BOUND_SECONDS)
        assert [path for path in private[:3] if path.exists() and path.name != "roster"] == []
        site.controllers["west"].kill()

        assert site.join("west", site.token("east", "west")).returncode == 0
        site.start("west")
        eventually(lambda: see_one_another(site, "east", "west"), "west is back")
        site.controllers["west"].kill()
        assert site.done("evict", "west", "--dir", "east") == "west is no member any more"
        eventually(lambda: gone(site, "west", "east"), "nothing is left of the dead", seconds=BOUND_SECONDS)
        old = site.directory("west").joinpath("member.key").read_bytes()

        back = site.join("west", site.token("east", "west"))
        assert (back.returncode, "has been evicted since" in back.stderr) == (0, True), back.stderr
        assert site.directory("west").joinpath("member.key").read_bytes() != old
        logs = "".join(child.log.read_text() for child in site.controllers.values())
        secrets = [
            token,
            *(path.read_text().partition(":")[2].strip() for path in private if path.suffix == ".credentials"),
        ]
        assert (all(secrets), [secret for secret in secrets if secret in logs]) == (True, [])


def test_users_that_were_made_by_hand_are_enough(tmp_path: Path) -> None:
    """As docs/membership.md says: with the printed rules, without the power over users, a member joins by the user that
    its token brings, keeps it, and leaves; a wrong password is told as such."""
    with secure_site(tmp_path) as site:
        directory = site.directory("east")
        directory.mkdir()
        exchange = f"{{url: '{site.url}', caFile: ../exchange/ca.pem, credentialsFile: by-hand.credentials}}"
        (directory / "cluster.yaml").write_text(
            f"clusterset: acme\ncluster: east\nregion: r\ntrustDomain: east.acme\nexchange: {exchange}\n"
        )
        member, authority = site.done("exchange", "acl", "--dir", "east", "--cluster", "west").splitlines()
        names = {}
        with site.admin() as client:
            for path, line in ((directory / "by-hand.credentials", authority), (tmp_path / "west.credentials", member)):
                words = [
                    word for word in shlex.split(line.replace("PASSWORD", "s3cret")) if not word.startswith("+acl")
                ]
                client.execute_command(*words)
                names[path.name] = words[2]
                path.write_text(f"{words[2]}:s3cret\n")
                path.chmod(0o600)
        site.done("init", "--dir", "east", "--clusterset", "acme", "--cluster-id", "east", "--exchange", site.url)
        site.start("east")
        wrong = tmp_path / "wrong.credentials"
        wrong.write_text(f"{names['west.credentials']}:wrong\n")
        wrong.chmod(0o600)
        told = refusal(site, "west", site.token("east", "west", "--exchange-credentials", str(wrong)))
        assert ("refused our user or password" in told, "makes the exchange's users by hand" in told) == (True, True)
        token = site.token("east", "west", "--exchange-credentials", str(tmp_path / "west.credentials"))
        joined = site.join("west", token)
        assert joined.returncode == 0, joined.stderr
        assert (site.directory("west") / "exchange.credentials").read_text() == f"{names['west.credentials']}:s3cret\n"
        site.start("west")
        eventually(lambda: see_one_another(site, "east", "west"), "they see one another")
        assert site.done("leave", "--dir", "west") == "west has left clusterset acme"


@dataclass(frozen=True)
class Plain:
    site: Site
    redis: EmbeddedRedis


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plain]:
    """East has the authority, and its controller runs; west has joined. The exchange asks nobody who he is."""
    with plain_site(tmp_path_factory.mktemp("plain")) as (site, redis):
        site.init("east")
        site.start("east")
        (site.root / "west.token").write_text(site.token("east", "west"))
        assert site.join("west", (site.root / "west.token").read_text()).returncode == 0
        yield Plain(site, redis)


def test_a_token_is_good_once(plain: Plain) -> None:
    """Another cluster that comes with it is told that it was used, and keeps nothing."""
    token = (plain.site.root / "west.token").read_text()
    assert "was used already: each is good for one cluster, once" in refusal(plain.site, "other", token)
    assert not plain.site.directory("other").exists()


def test_a_token_that_was_revoked_is_refused(plain: Plain) -> None:
    """`token list` shows it by its id, `token revoke` ends it, and whoever comes with it is told so."""
    token = plain.site.token("east", "north")
    listed = plain.site.done("token", "list", "--dir", "east")
    (line,) = [line for line in listed.splitlines() if "north" in line]
    revoked = plain.site.done("token", "revoke", line.split()[0], "--dir", "east")
    assert revoked == f"token {line.split()[0]} for cluster north is revoked"
    assert "was revoked" in refusal(plain.site, "north", token)


def test_a_token_that_expired_or_was_altered_is_refused(plain: Plain) -> None:
    """Before anything is asked for, with the clock that it was held against."""
    token = plain.site.token("east", "late", "--ttl", "1s")
    altered = token[:-5] + ("A" if token[-5] != "A" else "B") + token[-4:]
    assert "the token is altered or not whole" in refusal(plain.site, "late", altered)
    eventually(lambda: datetime.now(UTC) >= parse_token(token).expires_at, "its time is up")
    told = refusal(plain.site, "late", token)
    assert ("the token for late expired at" in told, "by the clock here" in told) == (True, True)


def test_an_id_or_a_trust_domain_that_is_taken_is_refused(plain: Plain) -> None:
    """No token is made for an id that a member has; a trust domain shows at the join, before it is anybody's."""
    made = plain.site.run("token", "create", "--dir", "east", "--cluster", "west")
    assert (made.returncode, made.stdout) == (1, "")
    assert "cluster id west is taken by a member" in made.stderr
    token = plain.site.token("east", "south")
    told = refusal(plain.site, "south", token, "--trust-domain", "west.acme")
    assert "trust domain west.acme is taken by cluster west" in told
    assert plain.site.join("south", token).returncode == 0
    plain.site.done("evict", "south", "--dir", "east")


def test_names_that_are_none_are_refused_at_once(plain: Plain) -> None:
    """A cluster id that is no DNS label, at each command that takes one, and an id that is not the token's."""
    bad = plain.site.run("token", "create", "--dir", "east", "--cluster", "No_Label")
    assert (bad.returncode, "is no DNS label" in bad.stderr) == (1, True)
    evicted = plain.site.run("evict", "No_Label", "--dir", "east")
    assert (evicted.returncode, "is no DNS label" in evicted.stderr) == (2, True)
    token = plain.site.token("east", "north")
    assert "the token is for cluster north, not for norht" in refusal(
        plain.site, "north", token, "--cluster-id", "norht"
    )
    assert "is no SPIFFE trust domain" in refusal(plain.site, "north", token, "--trust-domain", "Ünfit")


def test_settings_that_disagree_are_named_key_by_key(plain: Plain) -> None:
    """A cluster.yaml that is there is never rewritten: with other words than the token's it is refused."""
    directory = plain.site.directory("hand")
    directory.mkdir()
    text = (
        f"{{clusterset: acme, cluster: hund, region: r, trustDomain: hand.acme, exchange: {{url: {plain.site.url}}}}}"
    )
    (directory / "cluster.yaml").write_text(text)
    token = plain.site.token("east", "hand")
    assert "cluster: is hund, must be hand" in refusal(plain.site, "hand", token)
    (directory / "cluster.yaml").write_text(text.replace("hund", "hand"))
    assert plain.site.join("hand", token).returncode == 0
    assert (directory / "cluster.yaml").read_text() == text.replace("hund", "hand")
    plain.site.done("evict", "hand", "--dir", "east")


def test_a_clock_that_is_off_is_told_by_the_authority(plain: Plain, monkeypatch: pytest.MonkeyPatch) -> None:
    """How far, in which direction, and how far is allowed."""
    token = parse_token(plain.site.token("east", "north"))
    monkeypatch.setattr(joining, "utc_now", lambda: datetime.now(UTC) - timedelta(seconds=90))
    told: list[str] = []
    with pytest.raises(RefusedError, match=r"the clock of north is (89|90|91) s behind .* 60 s are allowed") as caught:
        asyncio.run(
            joining.join(
                plain.site.directory("north"), token, "north.acme", Place("r"), told.append, timeout_seconds=20
            )
        )
    assert (caught.value.reason, "NTP" in caught.value.hint) == ("ClockSkew", True)
    assert not plain.site.directory("north").exists()


def test_without_the_authoritys_controller_the_join_waits_and_goes_on_later(plain: Plain) -> None:
    """After its time it says who does not answer, and exits with 1; done again when that runs, it ends well. A crash
    of the exchange in between costs nothing."""
    site = plain.site
    token = site.token("east", "north")
    assert site.controllers["east"].terminate() == 0
    waited = site.join("north", token, "--timeout", "0.5")
    assert (waited.returncode, waited.stdout) == (1, "")
    assert "nobody answered the request of north within 0.5 s" in waited.stderr
    assert "is the controller of east, which has the authority, running?" in waited.stderr
    key = (site.directory("north") / "member.key").read_bytes()
    plain.redis.kill()
    plain.redis.start()
    site.start("east")
    assert site.join("north", token).returncode == 0
    assert (site.directory("north") / "member.key").read_bytes() == key
    assert sorted(site.members("north")) == ["east", "north", "west"]
    assert site.done("leave", "--dir", "north") == "north has left clusterset acme"


def test_a_token_of_another_authority_gets_nowhere(plain: Plain, tmp_path: Path) -> None:
    """Whose signature does not hold for the token is believed by nobody, and nothing is asked of him."""
    with plain_site(tmp_path) as (foreign, _):
        foreign.init("east")
        token = parse_token(foreign.token("east", "north"))
    forged = JoinToken(
        token.clusterset,
        token.cluster,
        token.expires_at,
        plain.site.url,
        token.authority_key,
        token.seat,
        token.seed,
    )
    text = encode_token(forged)
    assert "the roster in the exchange can't be believed" in refusal(plain.site, "north", text)


def test_the_authority_stays_where_it_is(plain: Plain) -> None:
    """Its cluster neither leaves nor is evicted, and a second clusterset of the name is refused."""
    left = plain.site.run("leave", "--dir", "east")
    assert (left.returncode, "east holds the authority of clusterset acme" in left.stderr) == (1, True)
    put_out = plain.site.run("evict", "east", "--dir", "east")
    assert (put_out.returncode, "holds the authority" in put_out.stderr) == (1, True)
    words = ("--clusterset", "acme", "--cluster-id", "second", "--region", "r", "--exchange", plain.site.url)
    second = plain.site.run("init", "--dir", "second", *words)
    assert (second.returncode, "holds a clusterset acme already" in second.stderr) == (1, True)
    assert not plain.site.directory("second").exists()


@pytest.fixture
def short_path() -> Iterator[Path]:
    """Where the path of a Unix socket has room for what the README names."""
    with tempfile.TemporaryDirectory(prefix="fed-") as name:
        yield Path(name)


def test_the_readmes_clusterset_works_as_written(short_path: Path) -> None:
    """Its first block, line by line in a shell: two clusters that see one another."""
    readme = (REPOSITORY / "README.md").read_text()
    _, _, text = readme.partition("## A clusterset of your own, from files")
    lines = text.partition("```sh\n")[2].partition("```")[0].replace("\\\n", " ").splitlines()
    assert lines[0] == "federation exchange up"
    with secure_site(short_path, "clusters") as site:
        program = short_path / "bin" / "federation"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {shlex.join(federation_command())} "$@"\n')
        program.chmod(0o755)
        path = os.pathsep.join([str(program.parent), os.environ["PATH"]])
        for line in lines[1:]:
            if line.startswith("federation controller"):
                site.start(Path(line.split()[-1]).name)
                continue
            command = line.replace("rediss://127.0.0.1:6379", site.url)
            done = subprocess.run(
                ["sh", "-ec", command],
                cwd=short_path,
                env={**python_environment(), "PATH": path},
                capture_output=True,
                text=True,
                timeout=40,
                check=False,
            )
            assert done.returncode == 0, f"{line}: {done.stderr}"
        eventually(lambda: see_one_another(site, "us-east", "us-west"), "the two see one another")
