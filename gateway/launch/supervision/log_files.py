"""The servers' logs: one file per instance, rotated by size, and reading them again.

Output comes in pieces of any size; a line ends at a newline or, for progress bars, at a carriage return.
"""

import logging
import os
from collections.abc import Iterator
from hashlib import sha256
from logging.handlers import RotatingFileHandler
from pathlib import Path
from urllib.parse import quote, unquote

FOLDER = "logs"
FILE_BYTES = 16 * 2**20
OLDER_FILES = 3
LONGEST_LINE_BYTES = 64 * 2**10
"""A longer one is cut in two: vLLM prints whole prompts when told to."""
_LONGEST_STEM = 200
"""File systems take 255 bytes with the endings."""
_SUFFIX = ".log"


def log_path(launch_dir: Path, label: str) -> Path:
    """Where an instance's log lies. Labels may hold slashes and more than a file name takes."""
    stem = quote(label, safe="#")
    if len(stem) > _LONGEST_STEM:
        stem = f"{stem[:_LONGEST_STEM]}-{sha256(label.encode()).hexdigest()[:8]}"
    return launch_dir / FOLDER / f"{stem}{_SUFFIX}"


def logged_labels(launch_dir: Path) -> Iterator[str]:
    """The instances that have a log."""
    found = (launch_dir / FOLDER).glob(f"*{_SUFFIX}")
    yield from sorted(unquote(path.name.removesuffix(_SUFFIX)) for path in found)


class _Quiet(RotatingFileHandler):
    """A full disk costs log lines, never the server."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (overrides)
        del record


class LogFile:
    """Writes one instance's log. There is no file before its first line."""

    def __init__(self, path: Path, file_bytes: int = FILE_BYTES) -> None:
        # Prompts may stand in it.
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._handler = _Quiet(
            path, maxBytes=file_bytes, backupCount=OLDER_FILES, encoding="utf-8", errors="replace", delay=True
        )

    def write(self, line: str) -> None:
        """Append a line."""
        self._handler.handle(logging.makeLogRecord({"msg": line}))

    def close(self) -> None:
        """End the file."""
        self._handler.close()


class LineSplitter:
    """Turns pieces of output into lines."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> Iterator[str]:
        """The lines that this piece completes, without their ends; empty ones are left out."""
        *whole, rest = (self._rest + piece).replace(b"\r", b"\n").split(b"\n")
        while len(rest) > LONGEST_LINE_BYTES:
            whole.append(rest[:LONGEST_LINE_BYTES])
            rest = rest[LONGEST_LINE_BYTES:]
        self._rest = rest
        for line in whole:
            if line:
                yield line.decode(errors="replace")

    def end(self) -> Iterator[str]:
        """What was left without an end."""
        yield from self.feed(b"\n")


def last_lines(path: Path, count: int) -> list[str]:
    """The end of a log, also where it begins in the file before the last rotation.

    Raises:
        FileNotFoundError: there is no such log.
    """
    lines = _lines(path)
    older = path.with_name(f"{path.name}.1")
    if len(lines) < count and older.exists():
        lines = [*_lines(older), *lines]
    return lines[max(0, len(lines) - count) :]


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


class Follower:
    """Reads what is appended to a log, over rotations. Only looks: call `read` again and again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._splitter = LineSplitter()
        self._file = path.open("rb")
        self._file.seek(0, 2)

    def read(self) -> Iterator[str]:
        """The lines since the last call."""
        yield from self._splitter.feed(self._file.read())
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return  # between the two steps of a rotation
        if found.st_ino != os.fstat(self._file.fileno()).st_ino:
            yield from self._splitter.feed(self._file.read())
            self._file.close()
            self._file = self._path.open("rb")
            yield from self._splitter.feed(self._file.read())

    def close(self) -> None:
        """Let the file go."""
        self._file.close()
