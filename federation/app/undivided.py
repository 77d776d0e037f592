"""Undivided: disk work beside the event loop, which is over when its caller is, also when that is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def undivided(act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What ``act`` returns or raises. It takes as long as the disk does, which the loop must not wait for; a thread
    can't be called back, so whoever is cancelled meanwhile ends after it: then nobody else is written over."""
    acting = asyncio.ensure_future(asyncio.to_thread(act, *args, **kwargs))
    try:
        return await asyncio.shield(acting)
    except asyncio.CancelledError:
        await asyncio.wait([acting])
        acting.exception()  # seen: that it was cancelled is what is told
        raise
