"""What a gateway may hold follows from its settings, or from its container's limit."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.app.memory_limit import gateway_limits
from federation.model.configuration import GatewaySettings

MIB = 1 << 20


@pytest.mark.parametrize(("told", "heap"), [("1073741824\n", 768 * MIB), ("max\n", 1024 * MIB), (None, 1024 * MIB)])
def test_without_a_setting_the_container_says(tmp_path: Path, told: str | None, heap: int) -> None:
    """Three quarters of its limit; 1 GiB where it has none, and outside of containers."""
    file = tmp_path / "memory.max"
    if told is not None:
        file.write_text(told)
    assert gateway_limits(GatewaySettings(()), file).heap_bytes == heap


def test_settings_come_first(tmp_path: Path) -> None:
    """Memory that is set is the heap's alone."""
    file = tmp_path / "memory.max"
    file.write_text("1073741824")
    limits = gateway_limits(GatewaySettings((), memory_mib=200, max_connections=7), file)
    assert (limits.heap_bytes, limits.connections) == (200 * MIB, 7)
