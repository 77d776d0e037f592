"""The long-running commands: controller, gateway, sidecar. Each stays in the foreground and ends cleanly on SIGTERM."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from federation.app.signals import run_until_signal
from federation.app.sites import load_cluster, load_sidecar
from federation.model.addresses import HostPort, parse_host_port
from federation.model.durations import parse_duration
from federation.model.errors import ConfigError

if TYPE_CHECKING:
    from federation.app.envoy import EnvoyProcess
    from federation.app.farewell import Farewell

Directory = Annotated[
    Path,
    typer.Option("--dir", "-d", metavar="DIRECTORY", help="The cluster's directory: cluster.yaml and manifests."),
]

Drain = Annotated[
    str, typer.Option(metavar="DURATION", help="On SIGTERM, how long what is open may last; 0s: it ends at once.")
]


def controller(
    directory: Directory = Path(),
    base: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="In Kubernetes: the installation's settings; it waits for a membership."),
    ] = None,
) -> None:
    """Run a cluster's controller.

    Reads the manifests, exchanges records with the other clusters, and serves xDS to the cluster's gateway and
    sidecars. /healthz, /readyz and /metrics are on http.listen.

    In Kubernetes several run for one cluster: one leads, the others stand by and serve xDS and DNS as it does.

    \b
    Examples:
      federation controller --dir clusters/us-east
      federation controller --dir /var/lib/federation --base /etc/federation/cluster.yaml
    """
    # Imported here: the other commands start twice as fast without gRPC and Envoy's messages.
    from federation.app.controller import run_controller  # noqa: PLC0415
    from federation.app.kube.replica import run_replica  # noqa: PLC0415

    # What was imported stays: a hundred thousand objects that no collection needs to look at again.
    gc.freeze()
    _set_up_logging()
    if base is not None:
        asyncio.run(run_until_signal(run_replica(base, directory, run_controller)))
        return
    settings = load_cluster(directory)
    asyncio.run(run_until_signal(run_controller(settings, directory)))


def gateway(
    directory: Directory = Path(),
    base: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="In Kubernetes: the installation's settings; its token is the pod's."),
    ] = None,
    listen: Annotated[
        str | None, typer.Option(metavar="IP:PORT", help="One of several gateways: instead of gateway.listen.")
    ] = None,
    admin: Annotated[
        str | None, typer.Option(metavar="IP:PORT", help="With --listen: instead of gateway.admin.")
    ] = None,
    drain: Drain = "30s",
) -> None:
    """Run a cluster's east-west gateway (Envoy).

    If Envoy dies it is started again. Takes the token tokens/gateway.token, and its configuration from the controller.

    On SIGTERM the other clusters are told to call the cluster's other gateways; it ends when they do and its
    connections have ended, or --drain after. Ctrl-C, or a second SIGTERM, ends it at once.

    \b
    Examples:
      federation gateway --dir clusters/us-east
      federation gateway --dir clusters/us-east --listen 192.0.2.7:15443 --admin 127.0.0.1:15010
      federation gateway --dir /var/lib/federation --base /etc/federation/cluster.yaml
    """
    from federation.app.proxies import gateway_farewell, gateway_process, one_gateway  # noqa: PLC0415

    _set_up_logging()
    if base is not None:
        from federation.app.pod_proxies import (  # noqa: PLC0415
            gateway_pod,
            gateway_pod_farewell,
            installed_place,
            load_installation,
        )

        settings = load_installation(base, directory)
        envoy, farewell = gateway_pod(settings, installed_place(settings)), gateway_pod_farewell(settings)
        asyncio.run(run_until_signal(envoy.run(), farewell.leave))
        return
    settings, name = load_cluster(directory), "gateway"
    if (listen is None) is not (admin is None):
        raise ConfigError("--listen and --admin are of one gateway among several", hint="give both, or neither")
    if listen is not None and admin is not None:
        settings = one_gateway(settings, _address("--listen", listen), _address("--admin", admin))
        name = f"gateway~{settings.gateway.listen.host}~{settings.gateway.listen.port}"
    _run_proxy(gateway_process(settings, name), gateway_farewell(settings, _duration(drain)))


def sidecar(
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The workload's sidecar.yaml.")] = Path(
        "sidecar.yaml"
    ),
    drain: Drain = "30s",
) -> None:
    """Run the sidecar (Envoy) of one workload.

    If Envoy dies it is started again. Takes the workload's token, and its configuration from the controller.

    On SIGTERM everybody is told to call other workloads of the service; it ends when they do and the calls under way
    have ended, or --drain after. Ctrl-C, or a second SIGTERM, ends it at once.

    \b
    Example:
      federation sidecar --config clusters/us-east/sidecar-echo-1.yaml
    """
    from federation.app.proxies import sidecar_farewell, sidecar_process  # noqa: PLC0415

    _set_up_logging()
    settings = load_sidecar(config)
    cluster = load_cluster(settings.cluster_directory)
    _run_proxy(sidecar_process(settings, cluster), sidecar_farewell(settings, cluster, _duration(drain)))


def _run_proxy(envoy: EnvoyProcess, farewell: Farewell) -> None:
    async def run() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(envoy.run())
            tasks.create_task(farewell.arrive())

    asyncio.run(run_until_signal(run(), farewell.leave))


def _address(option: str, text: str) -> HostPort:
    try:
        return parse_host_port(text)
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from error


def _duration(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ConfigError(f"--drain: {error}") from error


def _set_up_logging() -> None:
    """Lines for a person on a terminal, JSON elsewhere; never the values of local variables, which may be secret."""
    import structlog  # noqa: PLC0415 - brings rich, which takes longer than all the rest of the command line

    terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            *(
                [
                    structlog.dev.ConsoleRenderer(
                        colors=not os.environ.get("NO_COLOR"), exception_formatter=structlog.dev.plain_traceback
                    )
                ]
                if terminal
                else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
