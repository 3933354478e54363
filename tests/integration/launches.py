"""Fake vLLM servers under our supervision: what they did, and what is left of them."""

import os
import sys
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL

from tests.unit.launch.builders import llama_config
from tests.unit.launch.folders import write_adapter, write_model

FAKE = (sys.executable, str(Path(__file__).with_name("fake_vllm.py")))
DEADLINE_S = 30.0
_MARK = "LAUNCH_TEST"


@dataclass
class Launches:
    """A folder with a model and an adapter, and the journal of the servers that were started from it."""

    folder: Path
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        self.model = write_model(self.folder / "tiny", llama_config())
        self.adapter = write_adapter(self.folder / "sql", 8)
        (self.folder / "journal").touch()

    @property
    def environment(self) -> dict[str, str]:
        """What every server needs; also how it is known to be ours."""
        return {"FAKE_VLLM_DIR": str(self.folder), _MARK: self.mark}

    def journal(self) -> list[str]:
        return (self.folder / "journal").read_text().splitlines()

    def happened(self) -> list[str]:
        """Who did what, in order: `chat begin`, `chat ready`, ..."""
        return [" ".join(line.split()[:2]) for line in self.journal()]

    def lines(self, beginning: str) -> list[str]:
        return [line for line in self.journal() if line.startswith(beginning)]

    def engine(self, name: str) -> int:
        """The process id of a server's newest engine."""
        return int(self.lines(f"{name} ready")[-1].split()[2])

    def kill_engine(self, name: str) -> None:
        os.kill(self.engine(name), SIGKILL)

    def alive(self, having: str = "") -> list[int]:
        """All processes of all servers, wherever they hide, and the guards; only those with this word."""
        wanted = f"{_MARK}={self.mark}".encode()
        ours = [path.parent for path in Path("/proc").glob("[0-9]*/environ") if wanted in _read(path)]
        return [int(path.name) for path in ours if having.encode() in _read(path / "cmdline")]

    def wait_gone(self) -> None:
        """Raises `TimeoutError` if something lives on."""
        end = time.monotonic() + DEADLINE_S
        while left := self.alive():
            if time.monotonic() > end:
                raise TimeoutError(f"still there: {[_read(Path(f'/proc/{pid}/cmdline')) for pid in left]}")
            time.sleep(0.05)


@contextmanager
def launches(folder: Path) -> Iterator[Launches]:
    """Whatever is left in the end is killed."""
    it = Launches(folder)
    try:
        yield it
    finally:
        kill(it.alive())


def kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, SIGKILL)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # ended meanwhile
        return b""
