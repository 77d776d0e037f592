"""What `federation check` looks at where a cluster is backed by Kubernetes: its API server, and the MCS API there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from http import HTTPStatus
from typing import Final

from controllers.checks import Check
from controllers.kube.client import KubeError, open_client
from controllers.mcs.objects import MCS_GROUP, Document, mapping, sequence, text
from federation.app.kube.post import access_of
from federation.app.network_checks import Reach
from federation.app.preflight_lines import Line, failed, note, ok, trouble
from federation.model.addresses import HostPort
from federation.model.configuration import KubernetesSettings

_SECONDS: Final = 10.0
_INSTALL: Final = "`federation install` brings the definitions of the MCS API"


async def kubernetes_checks(settings: KubernetesSettings) -> AsyncIterator[Check]:
    """Whether the API server answers, and what of the MCS API it serves."""
    try:
        async with open_client(access_of(settings)) as client:
            yield judge_api_server(await client.get("/version", {}, timeout_seconds=_SECONDS))
            try:
                yield judge_mcs_api(await client.get(f"/apis/{MCS_GROUP}", {}, timeout_seconds=_SECONDS))
            except KubeError as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
                yield failed(Line.MCS_API, "is not served", _INSTALL)
    except KubeError as error:
        yield trouble(Line.API_SERVER, error, "is it reached from here, and does the service account still exist?")


def judge_api_server(version: Document) -> Check:
    """What it says of itself."""
    return ok(Line.API_SERVER, f"Kubernetes {text(version.get('gitVersion')) or 'of an unknown version'} answers")


def judge_mcs_api(group: Document) -> Check:
    """The versions that are served."""
    served = [text(mapping(one).get("version")) for one in sequence(group.get("versions"))]
    return ok(Line.MCS_API, f"{', '.join(served)} is served" if served else "is served")


def judge_published_gateways(service: str, addresses: Sequence[HostPort], reached: Mapping[HostPort, Reach]) -> Check:
    """Where the others are told to reach the gateways; that they don't answer from here need not mean anything: many a
    load balancer can't be reached from behind."""
    if not addresses:
        return failed(
            Line.GATEWAY,
            "no address is published: the other clusters can't call this one",
            f"`federation status` says why; has Service {service} an address, and are its pods ready?",
        )
    silent = [str(address) for address in addresses if reached.get(address) is not Reach.ANSWERS]
    if silent:
        return note(
            Line.GATEWAY, f"{', '.join(silent)} does not answer from here", "does it answer from another cluster?"
        )
    return ok(Line.GATEWAY, f"{', '.join(map(str, addresses))} answers TLS")
