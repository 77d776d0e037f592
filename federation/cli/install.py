"""`federation install` and `uninstall`: the federation put into a Kubernetes cluster, and taken out of it."""

from __future__ import annotations

import asyncio
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from federation.cli.cluster_command import DEFAULT_NAMESPACE, Context, Kubeconfig, kube_access
from federation.cli.output import printable
from federation.model.errors import ConfigError
from federation.model.names import is_dns_label

if TYPE_CHECKING:
    from federation.app.installing import Installation
    from federation.install.values import InstallValues

Namespace = Annotated[str, typer.Option("--namespace", "-n", metavar="NAME", help="Where it is installed.")]


def install(
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    namespace: Namespace = DEFAULT_NAMESPACE,
    values: Annotated[
        list[Path] | None,
        typer.Option("--values", "-f", metavar="FILE", help="Values as for the Helm chart; the later file wins."),
    ] = None,
    words: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One value, such as gateway.replicas=3.")
    ] = None,
    *,
    only_print: Annotated[bool, typer.Option("--print", help="Print the manifests, and ask no cluster.")] = False,
    print_values: Annotated[
        bool, typer.Option("--print-values", help="Print every value with its default, and ask no cluster.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Let the API server judge everything, and change nothing.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until all pods are ready.")] = False,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="How long --wait waits.")] = 300.0,
) -> None:
    """Install the federation in a Kubernetes cluster, or upgrade it.

    CRDs, controllers, gateway, rights and network policies, as docs/kubernetes.md tells; the same as the Helm chart in
    deploy/chart. Doing it again changes what differs and removes what is no longer wanted, nothing else.

    \b
    Examples:
      federation install --context east --set clusterset=acme
      federation install --context east -f values.yaml --wait
      federation install --print -f values.yaml | kubectl apply --server-side -f -
    """
    from federation.install.values import default_values_text, parse_values  # noqa: PLC0415 - brings pydantic

    _check_namespace(namespace)
    if print_values:
        typer.echo(default_values_text(), nl=False)
        return
    given = parse_values([(str(path), _text(path)) for path in values or ()], words or ())
    if only_print:
        typer.echo(_manifests(given, namespace), nl=False)
        return
    done = asyncio.run(_installed(context, kubeconfig, given, namespace, dry_run, timeout if wait else None))
    where = [*(["--kubeconfig", str(kubeconfig)] if kubeconfig else []), *(["--context", context] if context else [])]
    _tell_next(done, shlex.join([*where, "-n", namespace]), namespace, dry_run=dry_run)


def uninstall(
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    namespace: Namespace = DEFAULT_NAMESPACE,
    *,
    force: Annotated[bool, typer.Option("--force", help="Also while the cluster is a member of a clusterset.")] = False,
    purge_crds: Annotated[
        bool, typer.Option("--purge-crds", help="CRDs too, and with them every ServiceExport of the cluster.")
    ] = False,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="How long to wait for pods to end.")] = 120.0,
) -> None:
    """Take the federation out of a Kubernetes cluster.

    Whatever it made goes: first the webhook, then the controllers, then the objects that they wrote, keys and state at
    last. What users made stays. The cluster must have left its clusterset before.

    \b
    Example:
      federation leave --context east && federation uninstall --context east
    """
    _check_namespace(namespace)

    async def run() -> None:
        from controllers.kube.client import open_client  # noqa: PLC0415 - brings aiohttp
        from federation.app.uninstalling import Uninstaller  # noqa: PLC0415

        async with open_client(kube_access(kubeconfig, context)) as client:
            await Uninstaller(client, namespace, _echo).uninstall(force=force, purge_crds=purge_crds, seconds=timeout)

    asyncio.run(run())
    typer.echo(f"the federation is no longer installed in namespace {namespace}")


async def _installed(
    context: str | None,
    kubeconfig: Path | None,
    values: InstallValues,
    namespace: str,
    dry_run: bool,  # noqa: FBT001 - one caller
    wait_seconds: float | None,
) -> Installation:
    from controllers.kube.client import open_client  # noqa: PLC0415 - brings aiohttp
    from federation.app.clock import utc_now  # noqa: PLC0415
    from federation.app.installing import Installer  # noqa: PLC0415

    async with open_client(kube_access(kubeconfig, context)) as client:
        installer = Installer(client, values, namespace, _echo, dry_run=dry_run)
        done = await installer.install(utc_now())
        if wait_seconds is not None and not dry_run:
            if done.member:
                await installer.wait(wait_seconds)
            else:
                typer.echo("not waiting: pods get ready when the cluster is a member", err=True)
        return done


def _manifests(values: InstallValues, namespace: str) -> str:
    import yaml  # noqa: PLC0415

    from federation.app.installing import check_settings  # noqa: PLC0415
    from federation.install.definitions import definition_texts  # noqa: PLC0415
    from federation.install.manifests import render, render_namespace  # noqa: PLC0415

    documents = render(values, namespace)
    check_settings(documents)
    head: str = yaml.safe_dump(render_namespace(values, namespace), sort_keys=False)
    rest: str = yaml.safe_dump_all(documents, sort_keys=False)
    return "---\n".join((head, *definition_texts().values(), rest))


def _tell_next(done: Installation, where: str, namespace: str, *, dry_run: bool) -> None:
    if dry_run:
        typer.echo(f"{done.written} objects would be written")
        return
    typer.echo(f"the federation is installed in namespace {namespace}")
    if not done.values.clusterset:
        typer.echo("without a gateway, since no clusterset is named: --set clusterset=NAME", err=True)
    if done.values.exchange_in_cluster:
        secret = f"secret {done.values.exchange_secret}"
        typer.echo(f"CA and administrator of its exchange are in {secret}: ca.pem, admin.credentials", err=True)
    if not done.member:
        begin = f"federation init {where} --clusterset {done.values.clusterset or 'NAME'}"
        typer.echo(f"next, to found a clusterset: {begin} --cluster-id NAME --region NAME --exchange URL")
        typer.echo(f"or, to join one: federation join {where} --region NAME --token-file FILE")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"values {path} can't be read: {getattr(error, 'strerror', None) or error}") from error


def _check_namespace(namespace: str) -> None:
    if not is_dns_label(namespace):
        raise ConfigError(f"{namespace!r} is no namespace: it must be a DNS label")


def _echo(line: str) -> None:
    typer.echo(printable(line))
