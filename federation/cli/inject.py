"""`federation inject`: sidecars in manifests, for those who want to see what they deploy."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from controllers.injection.annotations import INJECTION
from controllers.injection.pod_patch import Injection
from controllers.injection.policy import NamespaceFacts, facts_of
from controllers.injection.redirect_rules import parse_networks
from controllers.injection.workloads import Outcome, inject_document, uninject_document
from federation import __version__
from federation.app.manifest_text import read_stream, stream_text
from federation.cli.output import DataFormat, printable
from federation.install.vocabulary import CONTROLLER, XDS_PORT
from federation.model.errors import ConfigError

IMAGE = f"federation-gateway:{__version__}"


class NamespaceInjection(StrEnum):
    """What is taken for the label of namespaces that the files don't hold."""

    ENABLED = "enabled"
    MANUAL = "manual"
    NONE = "none"


def inject(
    files: Annotated[
        list[Path], typer.Option("--file", "-f", metavar="FILE", help="Manifests, - for standard input; repeatable.")
    ],
    clusterset: Annotated[
        str, typer.Option("--clusterset", metavar="NAME", help="Its controllers are whom the pods' tokens are for.")
    ] = "",
    cluster_id: Annotated[
        str, typer.Option("--cluster-id", metavar="ID", help="Of the cluster, for people who look.")
    ] = "",
    region: Annotated[str, typer.Option("--region", metavar="REGION", help="Of the cluster.")] = "",
    trust_domain: Annotated[
        str,
        typer.Option("--trust-domain", metavar="DOMAIN", help="Of the controllers. [default: of their trust bundle]"),
    ] = "",
    image: Annotated[str, typer.Option("--image", metavar="IMAGE", help="With Envoy and this program.")] = IMAGE,
    system_namespace: Annotated[
        str, typer.Option("--system-namespace", metavar="NAME", help="Where the controllers are.")
    ] = "federation-system",
    xds: Annotated[
        str,
        typer.Option("--xds", metavar="HOST:PORT", help="The controllers. [default: their Service, port 15012]"),
    ] = "",
    include: Annotated[
        list[str] | None,
        typer.Option("--include", metavar="CIDR", help="Redirect only what goes there; may be repeated."),
    ] = None,
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", metavar="NAME", help="Of objects that name none.")
    ] = "default",
    namespace_injection: Annotated[
        NamespaceInjection,
        typer.Option("--namespace-injection", help="The label of namespaces that are not in the files."),
    ] = NamespaceInjection.ENABLED,
    *,
    native_sidecars: Annotated[
        bool,
        typer.Option("--native-sidecars/--plain-sidecars", help="Plain containers are for Kubernetes before 1.29."),
    ] = True,
    uninject: Annotated[bool, typer.Option("--uninject", help="Take the sidecars away instead.")] = False,
    output: Annotated[DataFormat, typer.Option("--output", "-o", help="How to print it.")] = DataFormat.YAML,
) -> None:
    """Print manifests with a sidecar in their pods.

    Pods, and the templates of workloads, also in Lists; all else is printed as it is, without comments. Which pods got
    their sidecar, and why others did not, is told on standard error; the exit code is 1 where one that should have it
    can't.

    \b
    Examples:
      federation inject -f app.yaml --clusterset acme | kubectl apply -f -
      kubectl get deploy -o yaml | federation inject -f - --clusterset acme
      federation inject -f app.yaml --uninject
    """
    documents = [document for file in files for document in read_stream(_text(file), _name(file))]
    if uninject:
        done = [uninject_document(document, namespace) for document in documents]
    else:
        if not clusterset:
            raise ConfigError("the clusterset is not known", hint="name it with --clusterset")
        injection = Injection(
            image=image,
            clusterset=clusterset,
            cluster=cluster_id,
            region=region,
            trust_domain=trust_domain,
            xds=xds or f"{CONTROLLER}.{system_namespace}.svc:{XDS_PORT}",
            system_namespace=system_namespace,
            native=native_sidecars,
            include=parse_networks(include or (), "--include"),
        )
        known = _namespaces(documents)

        def facts(name: str) -> NamespaceFacts:
            return known.get(name) or NamespaceFacts(name, {INJECTION: namespace_injection.value})

        done = [inject_document(document, injection, facts, namespace) for document in documents]
    typer.echo(stream_text((document for document, _ in done), as_json=output is DataFormat.JSON), nl=False)
    outcomes = [outcome for _, told in done for outcome in told]
    for line in _summary(outcomes, taken_away=uninject):
        typer.echo(printable(line), err=True)
    if any(outcome.decision.warnings and not outcome.changed for outcome in outcomes):
        raise typer.Exit(1)


def _summary(outcomes: list[Outcome], *, taken_away: bool) -> list[str]:
    lines = []
    for outcome in outcomes:
        decision = outcome.decision
        if outcome.changed:
            lines.append(f"{'sidecar taken away' if taken_away else 'sidecar added'}: {outcome.subject}")
            lines += [f"  warning: {warning}" for warning in decision.warnings]
        else:
            lines.append(f"no change: {outcome.subject}: {decision.message or 'the pod has no sidecar of ours'}")
    return lines or ["no pods in the manifests"]


def _namespaces(documents: list[dict[str, Any]]) -> Mapping[str, NamespaceFacts]:
    """Those that are made by the same files."""
    found = [facts_of(document) for document in documents if document["kind"] == "Namespace"]
    return {facts.name: facts for facts in found}


def _text(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text()
    except OSError as error:
        raise ConfigError(f"{file} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{_name(file)} is no text: {error.reason}") from error


def _name(file: Path) -> str:
    return "standard input" if str(file) == "-" else str(file)
