"""Noticing that a file changed.

By looking every few seconds: that works on every file system (also for the symlinks by which Kubernetes
updates a ConfigMap), needs no library, and costs nothing that can be measured.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

Fingerprint = tuple[int, int, int]


def fingerprint(path: Path) -> Fingerprint | None:
    """What changes when the file does; None while it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


async def watch(path: Path, changed: Callable[[], Awaitable[None]], interval_s: float) -> None:
    """Call back after each change, until cancelled.

    A file that is still being written is not ready: the call comes when two looks in a row saw the same. A
    file that disappeared is awaited.
    """
    known = last = fingerprint(path)
    while True:
        await asyncio.sleep(interval_s)
        seen = fingerprint(path)
        if seen is not None and seen == last and seen != known:
            known = seen
            await changed()
        last = seen
