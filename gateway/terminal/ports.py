"""Who listens on a port, where /proc tells."""

from collections.abc import Iterator
from pathlib import Path

_LISTENING = "0A"  # linux/include/net/tcp_states.h: TCP_LISTEN
_LONGEST_COMMAND = 60


def holder(port: int, proc: Path = Path("/proc")) -> str | None:
    """The process that listens on a TCP port, as `process 4711 (python -m http.server)`.

    None when there is none, when its owner hides it from us, or on systems without /proc.
    """
    inodes = {f"socket:[{inode}]" for inode in _listening_inodes(port, proc)}
    if not inodes:
        return None
    for process in sorted(proc.glob("[0-9]*"), key=lambda path: int(path.name)):
        if inodes & set(_open_files(process)):
            return f"process {process.name} ({_command(process)})"
    return None


def _listening_inodes(port: int, proc: Path) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        for line in _text(proc / "net" / table).splitlines()[1:]:
            fields = line.split()
            local, state, inode = fields[1], fields[3], fields[9]
            if state == _LISTENING and int(local.rpartition(":")[2], 16) == port:
                yield inode


def _open_files(process: Path) -> Iterator[str]:
    try:
        descriptors = list((process / "fd").iterdir())
    except OSError:  # gone, or not ours to look into
        return
    for descriptor in descriptors:
        try:
            yield str(descriptor.readlink())
        except OSError:  # closed meanwhile
            continue


def _command(process: Path) -> str:
    words = _text(process / "cmdline").replace("\0", " ").strip() or _text(process / "comm").strip()
    return words if len(words) <= _LONGEST_COMMAND else f"{words[: _LONGEST_COMMAND - 3]}..."


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
