"""`federation kind`: three clusters of kind, Kubernetes in docker, that make a clusterset on this machine."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from federation.cli.output import DataFormat, Format, data_text, printable, table_lines, tell
from federation.cli.views import Output

if TYPE_CHECKING:
    from collections import Counter

    from federation.app.kind.commands import Kit
    from federation.app.kind.flow import Result
    from federation.app.kind.sight import ClusterSight
    from federation.app.kind.topology import Topology

app = typer.Typer(help="Three clusters of kind on this machine, as one clusterset.", no_args_is_help=True)

OWN = (sys.executable, "-P", "-m", "federation.cli.main")
"""Our own command line, run from this very environment."""

Configs = Annotated[
    Path, typer.Option(metavar="DIRECTORY", help="Where topology.yaml and the clusters' configurations are.")
]
Clusters = Annotated[
    str, typer.Option(metavar="NAMES", help="Some of the clusters, joined by commas; the first is always needed.")
]


@app.command()
def up(
    configs: Configs = Path("kind-configs"),
    clusters: Clusters = "",
    image: Annotated[
        str, typer.Option(metavar="NAME", help="A ready-made image of the product; default: built from the checkout.")
    ] = "",
    node_image: Annotated[str, typer.Option(metavar="NAME", help="Of kind's nodes; default: kind's own.")] = "",
    *,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="When a step fails, go on with those that don't wait for it.")
    ] = False,
    output: Output = Format.TABLE,
) -> None:
    """Make the clusters, a clusterset of them, and a call.

    Creates the clusters side by side, builds the image and loads it, installs the federation and an exchange, founds
    the clusterset, lets the others join by tokens, points CoreDNS at clusterset.local, deploys a sample, and calls it
    from another cluster. Each step is looked at first: a run that was cut off goes on where it stopped, and on a
    clusterset that is up it only calls. Needs docker, kind and kubectl; docs/kind.md tells what you will see.

    \b
    Examples:
      federation kind up
      federation kind up --clusters east,west --image federation-gateway:0.1.0
    """
    from federation.app.kind.deeds import Deeds, Options  # noqa: PLC0415 - here and below: most commands need none
    from federation.app.kind.flow import carry_out  # noqa: PLC0415
    from federation.app.kind.look import Look  # noqa: PLC0415
    from federation.app.kind.plan import plan_steps  # noqa: PLC0415

    topology = _topology(configs, clusters)
    options = Options(image, node_image, configs.absolute().parent)

    async def run(kit: Kit) -> tuple[tuple[Result, ...], Counter[str]]:
        deeds = Deeds(Look(topology, kit), options, _progress)
        return await carry_out(plan_steps(topology), deeds, _progress, keep_going=keep_going), deeds.answers

    with _kit() as kit:
        results, answers = asyncio.run(run(kit))
    if output in {Format.JSON, Format.YAML}:
        typer.echo(data_text(_report(results, answers), DataFormat(output.value)))
    failed = [result.error for result in results if result.error is not None]
    for error in failed:
        tell(error)
    if failed:
        _progress("`federation kind up` goes on from here, `federation kind status` shows what there is")
        raise typer.Exit(max(error.exit_code for error in failed))
    if output in {Format.TABLE, Format.WIDE}:
        names = ", ".join(f"kind-{cluster.name}" for cluster in topology.clusters)
        typer.echo(f"clusterset {topology.clusterset} is up; contexts of kubectl: {names}")


@app.command()
def status(configs: Configs = Path("kind-configs"), clusters: Clusters = "", output: Output = Format.TABLE) -> None:
    """Show what there is of the clusters.

    Exits with 1 where something is missing that `up` makes.

    \b
    Examples:
      federation kind status
      federation kind status -o json
    """
    from federation.app.kind.look import Look  # noqa: PLC0415

    topology = _topology(configs, clusters)
    with _kit() as kit:
        seen = asyncio.run(Look(topology, kit).clusters())
    if output in {Format.JSON, Format.YAML}:
        typer.echo(data_text([_cluster(sight) for sight in seen], DataFormat(output.value)))
    else:
        headers = ("cluster", "nodes", "controllers", "gateways", "member", "dns", "sample")
        for line in table_lines(headers, [_row(sight) for sight in seen]):
            typer.echo(line)
        for sight in seen:
            if sight.trouble:
                typer.echo(f"{sight.cluster}: {printable(sight.trouble)}", err=True)
    if not all(sight.whole for sight in seen):
        raise typer.Exit(1)


@app.command()
def down(configs: Configs = Path("kind-configs"), clusters: Clusters = "") -> None:
    """Delete the clusters.

    Only those that `up` made: a cluster of the same name without our mark is left alone.

    \b
    Example:
      federation kind down
    """
    from federation.app.kind.look import Look  # noqa: PLC0415
    from federation.app.kind.removal import remove  # noqa: PLC0415

    topology = _topology(configs, clusters)
    with _kit() as kit:
        errors = asyncio.run(remove(Look(topology, kit), _progress))
    for error in errors:
        tell(error)
    if errors:
        raise typer.Exit(1)


def _topology(configs: Path, clusters: str) -> Topology:
    from federation.app.kind.topology import load_topology  # noqa: PLC0415

    topology = load_topology(configs)
    return topology.only([name.strip() for name in clusters.split(",")]) if clusters else topology


@contextmanager
def _kit() -> Iterator[Kit]:
    """A private directory for the time of a run: it holds administrators' credentials."""
    from federation.app.kind.commands import Kit  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="federation-kind-") as work:
        yield Kit(Path(work), OWN)


def _progress(text: str) -> None:
    typer.echo(text, err=True)


def _report(results: tuple[Result, ...], answers: Counter[str]) -> dict[str, object]:
    steps = [
        {
            "step": str(result.step.deed),
            "cluster": result.step.cluster,
            "outcome": str(result.outcome),
            "error": "" if result.error is None else str(result.error),
        }
        for result in results
    ]
    return {"steps": steps, "answers": dict(sorted(answers.items()))}


def _cluster(sight: ClusterSight) -> dict[str, object]:
    shares = {
        "nodes": sight.nodes,
        "controllers": sight.controllers,
        "gateways": sight.gateways,
        "sample": sight.sample,
    }
    counted = {name: {"ready": share.ready, "wanted": share.wanted} for name, share in shares.items()}
    told = {"exists": sight.exists, "member": sight.member, "dns": sight.dns, "trouble": sight.trouble}
    return {"cluster": sight.cluster, **told, **counted, "whole": sight.whole}


def _row(sight: ClusterSight) -> tuple[str, ...]:
    if not sight.exists:
        return (sight.cluster, "none", *["-"] * 5)
    shares = [str(share) for share in (sight.nodes, sight.controllers, sight.gateways)]
    return (sight.cluster, *shares, _yes(sight.member), _yes(sight.dns), str(sight.sample))


def _yes(value: bool) -> str:  # noqa: FBT001 - a cell
    return "yes" if value else "no"
