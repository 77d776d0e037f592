"""How much memory the container of a process may have: an edge that reads the kernel's word."""

from __future__ import annotations

from pathlib import Path

from federation.model.configuration import GatewaySettings
from gateway.xds.overload import Limits

CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""In a container with a limit, its bytes (cgroup v2, Documentation/admin-guide/cgroup-v2.rst)."""

_MIB = 1 << 20
_WITHOUT_LIMIT = 1024 * _MIB


def gateway_limits(settings: GatewaySettings, container_limit: Path = CONTAINER_LIMIT) -> Limits:
    """What a gateway started here may hold.

    Of a container's memory a quarter is left to what is no heap of Envoy's: the process that started it, stacks, and
    the kernel's socket buffers, which count as the container's.
    """
    heap = settings.memory_mib * _MIB
    if not heap:
        given = _read(container_limit)
        heap = _WITHOUT_LIMIT if given is None else given * 3 // 4
    return Limits(heap, settings.max_connections)


def _read(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        # No such file outside of a control group, and the word "max" in one without a limit.
        return None
