"""`federation redirect`: the init step of a pod whose connections leave through its sidecar."""

from __future__ import annotations

from typing import Annotated

import typer

from controllers.injection.redirect_rules import (
    PROXY_UID,
    REDIRECT_PORT,
    Family,
    Redirect,
    parse_networks,
    plan_redirect,
)


def redirect(
    uid: Annotated[
        int, typer.Option("--uid", min=0, metavar="UID", help="The sidecar's user; its connections are left alone.")
    ] = PROXY_UID,
    port: Annotated[
        int, typer.Option("--port", min=1, max=65535, metavar="PORT", help="The sidecar's redirectPort.")
    ] = REDIRECT_PORT,
    include: Annotated[
        list[str] | None,
        typer.Option("--include", metavar="CIDR", help="Redirect only what goes there; may be repeated."),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", metavar="CIDR", help="Leave alone what goes there; may be repeated."),
    ] = None,
    exclude_port: Annotated[
        list[int] | None,
        typer.Option(
            "--exclude-port", min=1, max=65535, metavar="PORT", help="Leave alone what goes to it; may be repeated."
        ),
    ] = None,
    *,
    ipv6: Annotated[
        bool | None,
        typer.Option("--ipv6/--no-ipv6", help="IPv6 too, or not.  [default: where there is an address of it]"),
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take the rules away again.")] = False,
    print_only: Annotated[
        bool, typer.Option("--print", help="Print what iptables-restore would be given, and change nothing.")
    ] = False,
) -> None:
    """Redirect a pod's TCP connections to its sidecar.

    What leaves this network namespace is redirected, by iptables; what arrives is not. Connections of the sidecar's
    user and those within the pod are left alone. Doing it again gives the same rules. Needs root, NET_ADMIN and
    NET_RAW.

    \b
    Examples:
      federation redirect --uid 1337 --port 15001
      federation redirect --include 10.96.0.0/12 --exclude-port 5432
      federation redirect --undo
    """
    from federation.app.redirect import has_ipv6, remove_redirect, set_redirect  # noqa: PLC0415 - as the other commands

    families: tuple[Family, ...] = (4, 6) if (has_ipv6() if ipv6 is None else ipv6) else (4,)
    wanted = Redirect(
        uid,
        port,
        parse_networks(include or (), "--include"),
        parse_networks(exclude or (), "--exclude"),
        tuple(exclude_port or ()),
    )
    if print_only:
        for family in families:
            typer.echo(plan_redirect(wanted, family, ""), nl=False)
    elif undo:
        undone = remove_redirect()
        typer.echo(f"no longer redirected ({', '.join(undone)})" if undone else "nothing was redirected")
    else:
        used = set_redirect(wanted, families)
        typer.echo(f"TCP connections of this network namespace go to port {port} ({', '.join(used)})")
