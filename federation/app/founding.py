"""Founding a clusterset: what `federation init` does. An edge; the keys that it makes never leave the directory.

The clusterset is there once its ledger is. What was made before is taken back if that fails; whatever fails after it is
finished by doing the same again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from federation.app.admissions import EXCHANGE_ADMIN, opened_authority
from federation.app.clock import utc_now
from federation.app.cluster_file import Place, Terms, settle
from federation.app.member_files import EXCHANGE_CA, EXCHANGE_CREDENTIALS, MemberFiles
from federation.exchange.access import username
from federation.exchange.credentials import Credentials, new_credentials
from federation.membership import admission
from federation.membership.authority_store import AuthorityStore
from federation.membership.keys import generate_signing_key, public_key
from federation.membership.ledger import Ledger
from federation.membership.roster import Roster, RosterMember, open_roster, sign_roster
from federation.membership.roster_file import RosterFile
from federation.model.configuration import ClusterSettings
from federation.model.errors import ConfigError, FederationError, TrustError
from federation.model.exchange_address import ExchangeAddress
from federation.model.names import ClusterId

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Founding:
    """What `federation init` is told."""

    clusterset: str
    cluster: ClusterId
    trust_domain: str
    exchange: ExchangeAddress
    exchange_ca: str = ""
    """PEM; empty: those that the system trusts."""
    exchange_admin: Credentials | None = None
    """By which the authority makes the exchange's users; None: others make them, or there are none."""


async def found(directory: Path, founding: Founding, place: Place | None, tell: Tell) -> ClusterSettings:
    """Found a clusterset with the cluster in ``directory`` as its first member, which has the authority; to do it again
    is no error.

    Raises ConfigError and TrustError where that can't be, ExchangeUnavailableError where the exchange does not answer.
    """
    files = MemberFiles()
    terms = Terms(
        founding.clusterset,
        founding.cluster,
        founding.trust_domain,
        founding.exchange,
        pinned=bool(founding.exchange_ca),
        credentials=founding.exchange_admin is not None,
    )
    try:
        settings = settle(directory, terms, place, files)
        store = AuthorityStore(settings.authority_directory)
        if store.exists:
            _refuse_other(settings, store.read())
        else:
            await _create(store, settings, directory, founding, files, tell)
    except FederationError:
        files.take_back()
        raise
    _begin_with_roster(settings, store)
    async with opened_authority(settings) as (authority, _):
        await authority.reconcile()
    return settings


def _begin_with_roster(settings: ClusterSettings, store: AuthorityStore) -> None:
    """Save the authority's roster, unless there is one: that may be newer than an authority from a backup."""
    file = RosterFile(settings.state_directory)
    try:
        known = file.load()
    except TrustError as error:
        if error.reason != "RosterCorrupt":
            raise
        known = None
    if known is not None and known.roster.member(settings.cluster) is not None:
        return
    ledger, authority_key = store.sign_key()
    blob = sign_roster(ledger.roster, authority_key)
    try:
        file.save(open_roster(blob, settings.clusterset, ledger.authority_key))
    except OSError as error:
        raise ConfigError(f"{file.path} can't be written: {error.strerror}", hint="then do the same again") from error


async def _create(
    store: AuthorityStore,
    settings: ClusterSettings,
    directory: Path,
    founding: Founding,
    files: MemberFiles,
    tell: Tell,
) -> None:
    known = RosterFile(settings.state_directory).load()
    if known is not None and known.roster.member(founding.cluster) is not None:
        raise _already(settings)
    if founding.exchange_ca:
        files.put(directory / EXCHANGE_CA, founding.exchange_ca.encode())
    own: Credentials | None = None
    if founding.exchange_admin is not None:
        files.put(settings.authority_directory / EXCHANGE_ADMIN, founding.exchange_admin.line.encode())
        own = new_credentials(username(founding.clusterset, founding.cluster))
        files.put(directory / EXCHANGE_CREDENTIALS, own.line.encode())
    key, authority_key = files.key(settings.member_key_file), generate_signing_key()
    member = RosterMember(founding.cluster, founding.trust_domain, public_key(key), utc_now().replace(microsecond=0))
    roster = Roster(founding.clusterset, 0, founding.cluster)
    ledger = admission.found(Ledger(public_key(authority_key), roster), member)
    if own is not None:
        ledger = ledger.with_access(founding.cluster, own.digest)
    async with opened_authority(settings) as (_, board):
        tell(f"exchange {founding.exchange}: {await board.server_version()}")
        if await board.read_roster() is not None:
            raise TrustError(
                f"the exchange holds a clusterset {founding.clusterset} already",
                reason="ClustersetTaken",
                hint="join it with a token of its authority, or choose another name",
            )
    store.create(ledger, authority_key)


def _refuse_other(settings: ClusterSettings, ledger: Ledger) -> None:
    """Raises TrustError where the authority in the directory is not that of the clusterset that is to be founded."""
    if (ledger.roster.clusterset, ledger.roster.seat) != (settings.clusterset, settings.cluster):
        raise _already(settings)


def _already(settings: ClusterSettings) -> TrustError:
    return TrustError(
        f"cluster {settings.cluster} in {settings.state_directory.parent} is a member of a clusterset already",
        reason="AlreadyMember",
        hint="a cluster has one clusterset; use another directory",
    )
