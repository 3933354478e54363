"""What a server really takes from its device, and where the measured numbers are kept for the next plan."""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

from gateway.launch.bootlog import BootLog
from gateway.launch.calibration import Calibration, save_calibration
from gateway.launch.inventory import GpuLibrary, InventoryError
from gateway.launch.memory.device import Device, DeviceKind
from gateway.launch.plan import PlannedInstance
from gateway.launch.supervision.process import ServerProcess

_LOG = logging.getLogger(__name__)


class Gauge:
    """Reads how much of a GPU is in use; on the CPU, how much a server's own processes hold."""

    def __init__(self, library: GpuLibrary, devices: Mapping[int, Device]) -> None:
        self._library = library
        self._devices = devices

    async def before(self, planned: PlannedInstance) -> int | None:
        """What is in use on the instance's first device before it starts; None where nobody tells."""
        return await asyncio.to_thread(self._in_use, planned.gpus[0])

    async def taken(self, planned: PlannedInstance, process: ServerProcess, before: int | None) -> int | None:
        """What the instance took since `before`: starts on a device are never two at a time."""
        if self._devices[planned.gpus[0]].kind is DeviceKind.CPU:
            return await asyncio.to_thread(process.resident_bytes) or None
        after = await asyncio.to_thread(self._in_use, planned.gpus[0])
        return after - before if after is not None and before is not None and after > before else None

    def _in_use(self, index: int) -> int | None:
        if self._devices[index].kind is DeviceKind.CPU:
            return None
        try:
            return self._library.devices()[index][2]
        except (InventoryError, IndexError):
            return None  # planned for devices that are not here, or not by NVML


class Calibrator:
    """Keeps what starts have measured, in a file in the launch folder."""

    def __init__(self, folder: Path, calibration: Calibration, devices: Mapping[int, Device]) -> None:
        self._folder = folder
        self._devices = devices
        self.calibration = calibration

    def after_failure(self, planned: PlannedInstance, log: BootLog) -> Calibration:
        """With what a start said before it failed; for planning it anew at once."""
        return self.calibration.lacked(planned, self._devices[planned.gpus[0]], log, 0)

    def keep_shortage(self, planned: PlannedInstance, log: BootLog, missing_bytes: int | None) -> None:
        """Keep how much memory a start lacked, so that the next plan sets it aside if this was the last try.

        Args:
            planned: what was started.
            log: what its log said.
            missing_bytes: as the log says; None: it doesn't, so a device's margin is assumed.
        """
        device = self._devices[planned.gpus[0]]
        missing = device.margin_bytes if missing_bytes is None else missing_bytes
        self._keep(self.calibration.lacked(planned, device, log, missing))

    def keep(self, planned: PlannedInstance, log: BootLog, used_bytes: int | None) -> bool:
        """Learn from a start that answers, and say whether there was anything to learn and keep."""
        learned = self.calibration.learned(planned, self._devices[planned.gpus[0]], log, used_bytes)
        return learned is not self.calibration and self._keep(learned)

    def _keep(self, learned: Calibration) -> bool:
        self.calibration = learned
        try:
            save_calibration(learned, self._folder)
        except OSError as error:
            _LOG.warning("what was measured can't be kept in %s: %s", self._folder, error.strerror or error)
            return False
        return True
