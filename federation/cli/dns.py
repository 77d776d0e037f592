"""`federation dns`: the cluster's CoreDNS told, undoably, who answers for clusterset.local."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controllers.dns.corefile_edit import Method
from federation.cli.cluster_command import DEFAULT_NAMESPACE, Context, Kubeconfig, kube_access
from federation.cli.output import DataFormat, Format, data_text, printable
from federation.cli.views import Output

if TYPE_CHECKING:
    from collections.abc import Callable

    from federation.app.dns_install import Applied
    from federation.app.dns_plan import ClusterDns, DnsPlan

app = typer.Typer(help="The names of the clusterset in a cluster's CoreDNS.", no_args_is_help=True)

Namespace = Annotated[str, typer.Option("--namespace", "-n", metavar="NAME", help="Where the federation is installed.")]
Print = Annotated[bool, typer.Option("--print", help="Show what would be changed, and change nothing.")]


@app.command()
def install(
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    namespace: Namespace = DEFAULT_NAMESPACE,
    method: Annotated[
        Method, typer.Option(help="Forward the zone to the controllers, or let CoreDNS read ServiceImports itself.")
    ] = Method.FORWARD,
    *,
    only_print: Print = False,
) -> None:
    """Let CoreDNS answer for clusterset.local.

    Adds a server block to the Corefile (ConfigMap kube-system/coredns; coredns-custom where the Corefile takes that in)
    that forwards the zone to Service federation-dns; with --method plugin the line multicluster instead. What is added
    is marked, everything else stays to the byte. Doing it again changes nothing, or brings the address up to date.

    \b
    Examples:
      federation dns install --context kind-east --print
      federation dns install --context kind-east
    """
    from federation.app.dns_plan import plan_install  # noqa: PLC0415 - here and below: brings aiohttp

    def plan(found: ClusterDns) -> DnsPlan:
        return plan_install(found, method)

    _told(_changed(context, kubeconfig, namespace, plan, write=not only_print), only_print=only_print)


@app.command()
def uninstall(
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    namespace: Namespace = DEFAULT_NAMESPACE,
    *,
    only_print: Print = False,
) -> None:
    """Take out of CoreDNS's configuration what `install` put in.

    What is between the marks goes, and lines that were replaced come back; nothing else is touched.

    \b
    Example:
      federation dns uninstall --context kind-east
    """
    from federation.app.dns_plan import plan_uninstall  # noqa: PLC0415

    _told(_changed(context, kubeconfig, namespace, plan_uninstall, write=not only_print), only_print=only_print)


@app.command()
def status(
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    namespace: Namespace = DEFAULT_NAMESPACE,
    output: Output = Format.TABLE,
) -> None:
    """Show what CoreDNS does with clusterset.local.

    Exits with 1 where nothing is installed, or something is not as it should be.

    \b
    Example:
      federation dns status --context kind-east
    """
    from federation.app.dns_install import opened_site  # noqa: PLC0415
    from federation.app.dns_plan import judge  # noqa: PLC0415

    async def look() -> ClusterDns:
        async with opened_site(kube_access(kubeconfig, context), namespace) as site:
            return await site.look()

    state = judge(asyncio.run(look()))
    if output in {Format.JSON, Format.YAML}:
        content = {"method": state.method, "server": state.server, "problems": list(state.problems)}
        typer.echo(data_text(content, DataFormat(output.value)))
    else:
        match state.method:
            case "":
                pass
            case Method.PLUGIN:
                typer.echo("clusterset.local is answered by CoreDNS's plugin multicluster")
            case _:
                typer.echo(f"clusterset.local is forwarded to {printable(state.server)}")
        for problem in state.problems:
            typer.echo(f"problem: {printable(problem)}")
    if state.problems:
        raise typer.Exit(1)


def _changed(
    context: str | None, kubeconfig: Path | None, namespace: str, plan: Callable[[ClusterDns], DnsPlan], *, write: bool
) -> Applied:
    from federation.app.dns_install import opened_site  # noqa: PLC0415

    async def run() -> Applied:
        async with opened_site(kube_access(kubeconfig, context), namespace) as site:
            return await site.change(plan, write=write)

    return asyncio.run(run())


def _told(done: Applied, *, only_print: bool) -> None:
    for change in done.changes:
        if only_print:
            for line in change.diff():
                typer.echo(printable(line))
        else:
            typer.echo(f"{change.where} changed")
    if not done.changes:
        typer.echo("nothing to change", err=only_print)
    for note in done.notes:
        typer.echo(f"note: {printable(note)}", err=True)
