"""``python -m support.kube --port 6443 --kubeconfig FILE``: the stand-in as a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import signal
from pathlib import Path

from support.kube.server import running


async def serve(port: int, kubeconfig: Path) -> None:
    """Serve until SIGTERM or SIGINT; the kubeconfig is there once requests are answered."""
    done = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, done.set)
    async with running(port=port) as server:
        server.write_kubeconfig(kubeconfig)
        print(f"serving {server.url}", flush=True)
        await done.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m support.kube", description="a Kubernetes API server for tests")
    parser.add_argument("--port", type=int, default=0, help="port on loopback (default: a free one)")
    parser.add_argument("--kubeconfig", type=Path, required=True, help="file to write the administrator's access to")
    options = parser.parse_args()
    asyncio.run(serve(options.port, options.kubeconfig))


if __name__ == "__main__":
    main()
