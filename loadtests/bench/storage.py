"""The machine-readable file: one JSON object a line, first what was run on what, then every measurement."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from loadtests.bench.errors import BenchError
from loadtests.bench.measure import Measurement


@dataclass(frozen=True, slots=True)
class Recording:
    """The content of a results file."""

    machine: Mapping[str, str]
    versions: Mapping[str, str]
    commands: tuple[str, ...]
    measurements: tuple[Measurement, ...]

    def has(self, peer: str, scenario: str, repetition: int) -> bool:
        """Whether this cell was measured without a failure."""
        return any(
            (m.peer, m.scenario, m.repetition) == (peer, scenario, repetition) and m.has_figures()
            for m in self.measurements
        )


def begin(path: Path, machine: Mapping[str, str], versions: Mapping[str, str], command: str) -> None:
    """Add a header; a resumed file has several, of which the last describes machine and versions."""
    header = {"kind": "header", "machine": dict(machine), "versions": dict(versions), "command": command}
    _append(path, json.dumps(header))


def add(path: Path, measurement: Measurement) -> None:
    """Add a measurement; an interrupted run loses nothing that was measured."""
    _append(path, measurement.as_json())


def _append(path: Path, line: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(line + "\n")


def read(path: Path) -> Recording:
    """Read a results file.

    Raises:
        BenchError: there is none, or it is not one.
    """
    if not path.exists():
        raise BenchError(f"there are no results at {path} yet: python -m loadtests.bench run")
    machine: dict[str, str] = {}
    versions: dict[str, str] = {}
    commands: list[str] = []
    measurements: list[Measurement] = []
    try:
        for row in map(json.loads, filter(None, path.read_text().splitlines())):
            if row.pop("kind") == "measurement":
                measurements.append(Measurement(**row))
            else:
                machine = row["machine"]
                versions |= row["versions"]
                commands.append(row["command"])
    except (ValueError, KeyError, TypeError) as error:
        raise BenchError(f"{path} is not a results file of this bench: {error}") from error
    return Recording(machine, versions, tuple(dict.fromkeys(commands)), tuple(measurements))
