"""Measured numbers of earlier starts, kept beside the configuration and used by the next plan.

Weights depend on the files, the split and the card; activation and graphs also on the batch limits. A record
is used only for what it was measured with; everything else is computed again.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from gateway.launch.bootlog import BootLog
from gateway.launch.memory.budget import NOTHING_MEASURED, Measured, Shape
from gateway.launch.memory.device import Device
from gateway.launch.memory.terms import GIB
from gateway.launch.memory.versions import Version, parse_version
from gateway.launch.plan import PlannedInstance
from gateway.launch.request import InstanceRequest

FILE_NAME = "calibration.json"
_FORMAT = 1
_LEAST_CONTEXT = GIB // 4
"""No process gets by with less, whatever a measurement says."""


@dataclass(frozen=True, slots=True)
class Record:
    """What one start reported, per GPU."""

    model: str
    weights_key: str
    """Of everything that the weights depend on."""
    run_key: str
    """Of that and everything that activation and graphs depend on."""
    version: str | None = None
    weights_bytes: int | None = None
    activation_bytes: int | None = None
    graph_bytes: int | None = None
    inside_bytes: int | None = None
    context_bytes: int | None = None
    kv_tokens: int | None = None
    lacking_bytes: int | None = None
    """What it would have needed on top of its plan, where the start failed for memory."""


class _File(msgspec.Struct, frozen=True):
    format: int = _FORMAT
    records: list[Record] = []


class Calibration:
    """The records of one configuration; answers the planner's question for measured numbers."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._records = {record.run_key: record for record in records}

    @property
    def records(self) -> tuple[Record, ...]:
        """All records, by model."""
        return tuple(sorted(self._records.values(), key=lambda record: (record.model, record.run_key)))

    def __call__(self, request: InstanceRequest, shape: Shape, device: Device) -> Measured:
        """What was measured for such an instance on such a device."""
        exact = self._records.get(run_key(request, shape, device))
        if exact is not None and not _is_of(exact, request.version):
            # What another version needs beside the weights is no measure for this one.
            return Measured(weights_bytes=exact.weights_bytes, lacking_bytes=exact.lacking_bytes or 0)
        if exact is not None:
            return Measured(
                weights_bytes=exact.weights_bytes,
                activation_bytes=exact.activation_bytes,
                graph_bytes=exact.graph_bytes,
                inside_bytes=exact.inside_bytes,
                context_bytes=exact.context_bytes,
                lacking_bytes=exact.lacking_bytes or 0,
            )
        wanted = weights_key(request, shape, device)
        for record in self._records.values():
            if record.weights_key == wanted:
                return Measured(weights_bytes=record.weights_bytes)
        return NOTHING_MEASURED

    def learned(
        self, planned: PlannedInstance, device: Device, log: BootLog, used_bytes: int | None = None
    ) -> "Calibration":
        """With the numbers of a start added; the same if nothing was told.

        Args:
            planned: what was started.
            device: one of its devices.
            log: what its log said.
            used_bytes: what its processes really hold of the device once it answers, if that is known.
        """
        if log.is_empty and used_bytes is None:
            return self
        return Calibration((*self._records.values(), self._record(planned, device, log, used_bytes)))

    def lacked(
        self, planned: PlannedInstance, device: Device, log: BootLog, missing_bytes: int
    ) -> "Calibration":
        """With the numbers of a failed start, and what it would have needed beyond its plan.

        A start that succeeds and is measured replaces them.
        """
        told = self._record(planned, device, log, None)
        known = self._records.get(told.run_key, told)
        record = replace(known, **_plain(told))
        lacking = (record.lacking_bytes or 0) + missing_bytes
        return Calibration((*self._records.values(), replace(record, lacking_bytes=lacking or None)))

    def _record(
        self, planned: PlannedInstance, device: Device, log: BootLog, used_bytes: int | None
    ) -> Record:
        key = run_key(planned.request, planned.budget.shape, device)
        known = self._records.get(key)
        return Record(
            model=planned.request.name,
            weights_key=weights_key(planned.request, planned.budget.shape, device),
            run_key=key,
            version=log.version,
            weights_bytes=log.weights_bytes,
            activation_bytes=log.activation_bytes,
            graph_bytes=None if log.graph_bytes is None else max(0, log.graph_bytes),
            inside_bytes=log.non_torch_bytes,
            context_bytes=None if used_bytes is None else _context(planned, log, used_bytes),
            kv_tokens=log.kv_tokens,
            # Only the measured context tells that nothing is lacking any more.
            lacking_bytes=known.lacking_bytes if known is not None and used_bytes is None else None,
        )


def weights_key(request: InstanceRequest, shape: Shape, device: Device) -> str:
    """The same for starts that load the same weights."""
    return _digest(
        request.source,
        request.quantization,
        shape.tp,
        shape.pp,
        shape.dtype,
        None if shape.lora is None else (shape.lora.max_loras, shape.lora.rank),
        device.name,
        device.kind,
    )


def run_key(request: InstanceRequest, shape: Shape, device: Device) -> str:
    """The same for starts that run alike."""
    return _digest(
        weights_key(request, shape, device),
        shape.max_num_seqs,
        shape.max_num_batched_tokens,
        shape.max_model_len,
        shape.enforce_eager,
        shape.kv_cache_dtype,
        shape.task,
        tuple(request.args),
    )


def load_calibration(folder: Path) -> Calibration:
    """The records in a folder; none if there is no file, or one that another version wrote."""
    try:
        stored = msgspec.json.decode((folder / FILE_NAME).read_bytes(), type=_File)
    except (OSError, msgspec.DecodeError):
        return Calibration()
    return Calibration(stored.records) if stored.format == _FORMAT else Calibration()


def save_calibration(calibration: Calibration, folder: Path) -> None:
    """Write the records, replacing the file in one step so that a reader never sees half of it."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"format": _FORMAT, "records": [_plain(record) for record in calibration.records]}
    scratch = folder / f"{FILE_NAME}.new"
    scratch.write_bytes(msgspec.json.format(msgspec.json.encode(content)) + b"\n")
    scratch.replace(folder / FILE_NAME)


def _is_of(record: Record, version: Version) -> bool:
    """Whether a record was made by this minor version of vLLM, or nobody knows."""
    made_by = parse_version(record.version or "")
    return made_by is None or (made_by.major, made_by.minor) == (version.major, version.minor)


def _context(planned: PlannedInstance, log: BootLog, used_bytes: int) -> int:
    """What an instance holds beyond the terms that have a name."""
    budget = planned.budget
    weights = log.weights_bytes or budget.weights.size_bytes + budget.lora.size_bytes
    graphs = max(0, log.graph_bytes or 0)
    rest = used_bytes - planned.kv_bytes - weights - graphs - (log.non_torch_bytes or 0)
    return max(rest, _LEAST_CONTEXT)


def _plain(record: Record) -> dict[str, Any]:
    return {name: value for name, value in asdict(record).items() if value is not None}


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
