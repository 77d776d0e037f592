"""What a command has made on the disk of a pod: it is done once the Secret has it. An edge.

The command is a process of its own beside the controller that leads, which carries the files to the Secret.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

from controllers.kube.client import KubeError, open_client
from federation.app.kube.base_settings import BASE_FILE, parse_base_settings
from federation.app.kube.post import access_of, own_pod
from federation.app.kube.remote import holder_of
from federation.app.kube.shared_state import JOURNAL, SECRET, SharedState, shared_files
from federation.app.sites import read_installation
from federation.model.configuration import KubernetesSettings
from federation.model.errors import ConfigError, FederationError

KEEP_SECONDS: Final = 30.0
"""For a leader to write what a command has made: it does so in a quarter of a second, and has lost the lead after ten
in which the API server did not answer."""
_LOOK_SECONDS: Final = 0.1


class NotKeptError(FederationError):
    """What a command has made may go with the pod that it was made in."""


async def wait_kept(directory: Path, before: Mapping[str, bytes]) -> None:
    """Return once the Secret has what was changed in ``directory`` since it held ``before``; at once if nothing was.
    Raises NotKeptError, and ConfigError where the installation's settings can't be read."""
    made = shared_files(directory)
    # The journal is the controller's own, and no command's.
    names = sorted(name for name in {*before, *made} - {JOURNAL} if before.get(name) != made.get(name))
    if not names:
        return
    settings = parse_base_settings(read_installation(directory / BASE_FILE), directory=directory.absolute()).kubernetes
    if settings is None:
        raise ConfigError(f"{directory / BASE_FILE} has no section kubernetes")
    told = f"{', '.join(names)} on the disk of {own_pod()} alone"
    why = "the controller there has not written it"
    try:
        async with asyncio.timeout(KEEP_SECONDS):
            while True:
                try:
                    if await _is_kept(settings, directory, made, names):
                        return
                except KubeError as error:
                    why = str(error)
                await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        raise NotKeptError(
            f"what the command made is not in Secret {SECRET}, but as {told}: {why}",
            hint="keep that pod: its controller writes it once the API server lets it, and until then `federation "
            "status` names the problem NotShared. If the pod goes before, do the same again",
        ) from None


async def _is_kept(settings: KubernetesSettings, directory: Path, made: Mapping[str, bytes], names: list[str]) -> bool:
    """Whether the Secret has these files, as they were made or as the controller has changed them since. Raises
    KubeError, NotKeptError."""
    opened = partial(open_client, access_of(settings))
    # The Lease last: while it names this pod nobody else's files have taken the place of those here.
    now, held = shared_files(directory), await SharedState(opened, settings.namespace, directory).held()
    if all(held.get(name) == made.get(name) for name in names):
        return True
    async with opened() as client:
        holder = await holder_of(client, settings.namespace)
    if holder in {"", own_pod()}:
        return bool(holder) and all(held.get(name) == now.get(name) for name in names)
    raise NotKeptError(
        f"{holder} leads since: what the command made on the disk of {own_pod()} is lost, it is not in Secret {SECRET}",
        hint="`federation status` tells what there is; do the same again",
    )
