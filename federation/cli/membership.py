"""`federation init`, `join`, `leave`, `evict` and `members`: who belongs to the clusterset."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from federation.cli.output import DataFormat, Format, data_text, table_lines
from federation.cli.processes import Directory
from federation.cli.views import Output
from federation.model.errors import ConfigError, ExchangeUnavailableError
from federation.model.exchange_address import ExchangeAddress, parse_exchange_address
from federation.model.names import ClusterId, is_dns_label, is_trust_domain, key_name

_GOES_ON: Final = "its controller goes on as a member"

Region = Annotated[str, typer.Option(metavar="NAME", help="Where the cluster is; needed to make its cluster.yaml.")]
Network = Annotated[str, typer.Option(metavar="NAME", help="Network that it shares with others; default: its own.")]
Zone = Annotated[str, typer.Option(metavar="NAME", help="Zone of its gateway.")]
Gateway = Annotated[str, typer.Option(metavar="IP:PORT", help="Where its gateway takes calls; default: loopback.")]
Domain = Annotated[str, typer.Option(metavar="DOMAIN", help="SPIFFE trust domain; default: <cluster>.<clusterset>.")]
Timeout = Annotated[float, typer.Option(metavar="SECONDS", help="How long to wait for the authority.")]


def init(
    clusterset: Annotated[str, typer.Option(metavar="NAME", help="Name of the new clusterset, a DNS label.")],
    cluster_id: Annotated[str, typer.Option(metavar="NAME", help="Id of its first cluster, a DNS label.")],
    exchange: Annotated[
        str, typer.Option(metavar="URL", help="Redis as every cluster reaches it; see docs/exchange.md.")
    ],
    directory: Directory = Path(),
    exchange_ca: Annotated[
        Path | None, typer.Option(metavar="FILE", help="CA certificates (PEM), the only ones that it is known by.")
    ] = None,
    exchange_admin: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="USER:PASSWORD that may manage its users: each cluster then gets its own."),
    ] = None,
    region: Region = "",
    trust_domain: Domain = "",
    network: Network = "",
    zone: Zone = "",
    gateway: Gateway = "",
) -> None:
    """Found a clusterset, with this cluster as its first member.

    Makes the authority's key and ledger (in authority/), the member key, and cluster.yaml unless one is there. This
    cluster's controller then admits the others. Keep a backup of authority/: without it nobody can be admitted or
    evicted, though everything goes on running.

    \b
    Example:
      federation init --dir clusters/us-east --clusterset acme --cluster-id us-east --region us \\
        --exchange rediss://10.0.0.5:6379 --exchange-ca exchange/ca.pem --exchange-admin exchange/admin.credentials
    """
    from federation.app.cluster_file import Place  # noqa: PLC0415 - here and below: most commands need none of it
    from federation.app.founding import Founding, found  # noqa: PLC0415
    from federation.app.sites import from_outside  # noqa: PLC0415
    from federation.exchange.credentials import load_credentials  # noqa: PLC0415

    founding = Founding(
        _label("clusterset", clusterset),
        ClusterId(_label("cluster id", cluster_id)),
        _domain(trust_domain or f"{cluster_id}.{clusterset}"),
        _exchange(exchange),
        _text_of(exchange_ca) if exchange_ca is not None else "",
        load_credentials(exchange_admin) if exchange_admin is not None else None,
    )
    place = Place(region, network, zone, gateway) if region else None
    asyncio.run(found(directory, founding, place, _tell))
    typer.echo(f"clusterset {clusterset} founded, {cluster_id} is its first member")
    if outside := from_outside(directory):
        _tell(f"{_GOES_ON}; next, for each other cluster: federation token create {outside} --cluster NAME")
        return
    _tell(f"next: federation controller --dir {directory}")
    _tell(f"then, for each other cluster: federation token create --dir {directory} --cluster NAME")


def join(
    directory: Directory = Path(),
    token: Annotated[
        str | None,
        typer.Option(metavar="TOKEN", help="What `federation token create` printed.", envvar="FEDERATION_TOKEN"),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File that holds the token; - reads standard input.")
    ] = None,
    cluster_id: Annotated[str, typer.Option(metavar="NAME", help="Id of this cluster; default: the token's.")] = "",
    region: Region = "",
    trust_domain: Domain = "",
    network: Network = "",
    zone: Zone = "",
    gateway: Gateway = "",
    timeout: Timeout = 60.0,
) -> None:
    """Join a clusterset with a token.

    Its keys are made here and never leave; cluster.yaml is made unless one is there. To join again with the same key
    is no error. A token is good once, for one cluster, and for minutes.

    \b
    Examples:
      federation join --dir clusters/us-west --region us --token-file token
      federation token create --dir clusters/us-east --cluster us-west |
        federation join --dir clusters/us-west --region us --token-file -
    """
    from federation.app.cluster_file import Place  # noqa: PLC0415
    from federation.app.joining import join as joined  # noqa: PLC0415
    from federation.app.sites import from_outside  # noqa: PLC0415
    from federation.membership.join_token import parse_token  # noqa: PLC0415

    given = parse_token(token_text(token, token_file))
    if cluster_id:
        _label("cluster id", cluster_id)
    if cluster_id and cluster_id != given.cluster:
        raise ConfigError(
            f"the token is for cluster {given.cluster}, not for {cluster_id}",
            hint=f"federation token create --cluster {cluster_id} makes one for this cluster",
        )
    domain = _domain(trust_domain or _domain_of(directory) or f"{given.cluster}.{given.clusterset}")
    place = Place(region, network, zone, gateway) if region else None
    asyncio.run(joined(directory, given, domain, place, _tell, timeout_seconds=timeout))
    typer.echo(f"{given.cluster} is a member of clusterset {given.clusterset}")
    outside = from_outside(directory)
    _tell(f"{_GOES_ON}: federation status {outside}" if outside else f"next: federation controller --dir {directory}")


def leave(directory: Directory = Path(), timeout: Timeout = 60.0) -> None:
    """Take this cluster out of its clusterset.

    Every other member forgets it at once: services, endpoints, bundle, and the connections end. Its controller stops
    speaking as a member; its manifests, settings and CA stay.

    \b
    Example:
      federation leave --dir clusters/us-west
    """
    from federation.app.leaving import leave as left  # noqa: PLC0415
    from federation.app.sites import load_cluster  # noqa: PLC0415

    settings = load_cluster(directory)
    asyncio.run(left(settings, _tell, timeout_seconds=timeout))
    typer.echo(f"{settings.cluster} has left clusterset {settings.clusterset}")


def evict(
    cluster: Annotated[str, typer.Argument(metavar="CLUSTER", help="The member to put out.")],
    directory: Directory = Path(),
) -> None:
    """Put a dead or hostile member out.

    Run it where the authority is. Every other member forgets it at once, its connections end within seconds, and its
    user of the exchange is removed. It needs nobody's consent, and no controller has to run here.

    \b
    Example:
      federation evict us-west --dir clusters/us-east
    """
    from federation.app.admissions import opened_authority  # noqa: PLC0415
    from federation.app.refused import RefusedError  # noqa: PLC0415
    from federation.app.sites import load_cluster  # noqa: PLC0415
    from federation.membership.admission import Reason  # noqa: PLC0415

    member = ClusterId(_label("cluster id", cluster))

    async def run() -> None:
        async with opened_authority(load_cluster(directory)) as (authority, _):
            try:
                await authority.evict(member)
            except ExchangeUnavailableError as error:
                # It is decided before the exchange is told.
                raise ExchangeUnavailableError(
                    f"{member} is no member any more, which the others do not know yet: {error}",
                    hint="the controller here tells them as soon as it can; where none runs, do the same again",
                ) from error
            except RefusedError as error:
                if error.reason == Reason.NOT_A_MEMBER:
                    # As above, done again.
                    await authority.reconcile()
                raise

    asyncio.run(run())
    typer.echo(f"{cluster} is no member any more")


def members(directory: Directory = Path(), output: Output = Format.TABLE) -> None:
    """List the members of the clusterset.

    As this cluster's roster has them; needs no controller.

    \b
    Examples:
      federation members --dir clusters/us-east
      federation members --dir clusters/us-east -o json
    """
    from federation.app.sites import load_cluster  # noqa: PLC0415
    from federation.membership.roster_file import RosterFile  # noqa: PLC0415
    from federation.model.errors import TrustError  # noqa: PLC0415

    settings = load_cluster(directory)
    known = RosterFile(settings.state_directory).load()
    if known is None:
        raise TrustError(
            f"cluster {settings.cluster} is no member of a clusterset yet",
            hint="`federation join --token TOKEN` joins one, `federation init` founds one",
        )
    rows = [
        {
            "cluster": member.cluster,
            "trustDomain": member.trust_domain,
            "memberKey": member.public_key.hex(),
            "admittedAt": member.admitted_at,
            "authority": member.cluster == known.roster.seat,
        }
        for member in known.roster.members
    ]
    match output:
        case Format.JSON | Format.YAML:
            content = {"clusterset": known.roster.clusterset, "serial": known.roster.serial, "members": rows}
            typer.echo(data_text(content, DataFormat(output.value)))
        case Format.TABLE | Format.WIDE:
            shown = bytes.hex if output is Format.WIDE else key_name
            table = [
                (
                    member.cluster,
                    member.trust_domain,
                    f"{member.admitted_at:%Y-%m-%d %H:%M:%SZ}",
                    shown(member.public_key),
                    "authority" if member.cluster == known.roster.seat else "",
                )
                for member in known.roster.members
            ]
            for line in table_lines(("cluster", "trust domain", "admitted", "member key", "role"), table):
                typer.echo(line)


def _tell(text: str) -> None:
    typer.echo(text, err=True)


def token_text(token: str | None, file: Path | None) -> str:
    """The token of exactly one of the two options; raises ConfigError."""
    if token is not None and file is None:
        return token
    if file is not None and token is None:
        return sys.stdin.read() if str(file) == "-" else _text_of(file)
    raise ConfigError(
        "either --token (or FEDERATION_TOKEN) or --token-file is needed, and only one of them",
        hint="`federation token create` makes a token",
    )


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} can't be read: {getattr(error, 'strerror', None) or error}") from error


def _label(what: str, text: str) -> str:
    if not is_dns_label(text):
        raise ConfigError(
            f"{what} {text!r} is no DNS label", hint="use 1 to 63 lower case letters, digits and inner dashes"
        )
    return text


def _domain(text: str) -> str:
    if not is_trust_domain(text):
        raise ConfigError(f"{text!r} is no SPIFFE trust domain", hint="use 1 to 255 of a-z, 0-9, dot, dash, underscore")
    return text


def _domain_of(directory: Path) -> str:
    """The trust domain that settings which are there already name."""
    from federation.app.sites import CLUSTER_FILE, load_cluster  # noqa: PLC0415

    return load_cluster(directory).trust_domain if (directory / CLUSTER_FILE).exists() else ""


def _exchange(url: str) -> ExchangeAddress:
    try:
        return parse_exchange_address(url)
    except ValueError as error:
        raise ConfigError(f"--exchange {error}", hint="for instance rediss://redis.example.com:6379") from None
