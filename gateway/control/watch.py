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


class FileWatch:
    """Looks at one file. A file that is still being written, or is away for a moment, is not ready."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = self._last = fingerprint(path)

    def look(self) -> bool:
        """Whether the file changed, and was found unchanged since the look before. Says so once."""
        seen = fingerprint(self._path)
        is_ready = seen is not None and seen == self._last and seen != self._known
        self._last = seen
        if is_ready:
            self._known = seen
        return is_ready


async def watch(path: Path, changed: Callable[[], Awaitable[None]], interval_s: float) -> None:
    """Call back after each change, until cancelled."""
    file = FileWatch(path)
    while True:
        await asyncio.sleep(interval_s)
        if file.look():
            await changed()
