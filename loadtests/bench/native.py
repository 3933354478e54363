"""Compiles the bench's C programs at first use: the stand-in replica and the load client."""

import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from loadtests.bench.errors import BenchError

SOURCES = Path(__file__).parent
PARTS = {"replica": ("replica.c", "answers.c"), "client": ("client.c", "request.c", "reading.c")}
FLAGS = ("-O2", "-Wall", "-Wextra")


@dataclass(frozen=True, slots=True)
class NativePrograms:
    """Where the compiled programs are."""

    replica: Path
    client: Path


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for source in sorted(SOURCES.glob("*.[ch]")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]


def _compile(compiler: str, name: str, target: Path) -> None:
    sources = [str(SOURCES / part) for part in PARTS[name]]
    made = target.with_suffix(".new")
    command = [compiler, *FLAGS, "-o", str(made), *sources]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise BenchError(f"the C compiler refused the bench's {name}: {run.stderr.strip()[-500:]}")
    made.rename(target)


def build(cache: Path) -> NativePrograms:
    """Compile what is not there yet.

    Raises:
        BenchError: no C compiler, or one that fails.
    """
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    folder = cache / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    programs = {name: folder / f"{name}-{_fingerprint()}" for name in PARTS}
    for name, target in programs.items():
        if target.exists():
            continue
        if compiler is None:
            raise BenchError(
                "the bench needs a C compiler for its load client: apt-get install gcc libc6-dev"
            )
        _compile(compiler, name, target)
    return NativePrograms(**programs)
