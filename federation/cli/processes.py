"""The long-running commands: controller, gateway, sidecar. Each stays in the foreground and ends cleanly on SIGTERM."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from federation.app.signals import run_until_signal
from federation.app.sites import load_cluster, load_sidecar

Directory = Annotated[
    Path,
    typer.Option("--dir", "-d", metavar="DIRECTORY", help="The cluster's directory: cluster.yaml and manifests."),
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
) -> None:
    """Run a cluster's east-west gateway (Envoy).

    If Envoy dies it is started again. Takes the token tokens/gateway.token, and its configuration from the controller.

    \b
    Examples:
      federation gateway --dir clusters/us-east
      federation gateway --dir /var/lib/federation --base /etc/federation/cluster.yaml
    """
    from federation.app.proxies import gateway_process  # noqa: PLC0415

    _set_up_logging()
    if base is not None:
        from federation.app.pod_proxies import gateway_pod, installed_place, load_installation  # noqa: PLC0415

        settings = load_installation(base, directory)
        asyncio.run(run_until_signal(gateway_pod(settings, installed_place(settings)).run()))
        return
    asyncio.run(run_until_signal(gateway_process(load_cluster(directory)).run()))


def sidecar(
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The workload's sidecar.yaml.")] = Path(
        "sidecar.yaml"
    ),
) -> None:
    """Run the sidecar (Envoy) of one workload.

    If Envoy dies it is started again. Takes the workload's token, and its configuration from the controller.

    \b
    Example:
      federation sidecar --config clusters/us-east/sidecar-echo-1.yaml
    """
    from federation.app.proxies import sidecar_process  # noqa: PLC0415

    _set_up_logging()
    settings = load_sidecar(config)
    asyncio.run(run_until_signal(sidecar_process(settings, load_cluster(settings.cluster_directory)).run()))


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
