"""What one run of a server printed: its log file, its stages, and the words of its failure."""

import re
from collections import deque
from collections.abc import Callable

from gateway.launch.bootlog import BootLog, parse_boot_log
from gateway.launch.failures import Failure, recognise
from gateway.launch.shortage import missing_bytes
from gateway.launch.supervision.log_files import LogFile
from gateway.launch.supervision.stages import stage_of

TAIL_LINES = 400
"""Enough for the tracebacks of four processes."""
BOOT_LINES = 4000
_LONGEST_QUOTE = 200
_CONSEQUENCE = "Engine core initialization failed"
"""vLLM's last word on any failure of its engine."""
_ERROR = re.compile(r"\b\w*(?:Error|Exception)\b(?::| at ).*|^cannot run .*|error: .*")


class Journey:
    """Listens to one run. `notice` is told what the server is doing, until it has arrived."""

    def __init__(self, log: LogFile, notice: Callable[[str], None]) -> None:
        self._log = log
        self._notice = notice
        self._boot: list[str] | None = []
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._stage = ""

    def hear(self, line: str) -> None:
        """One line of its output."""
        self._log.write(line)
        self._tail.append(line)
        if self._boot is None:
            return
        if len(self._boot) < BOOT_LINES:
            self._boot.append(line)
        stage = stage_of(line)
        if stage is not None and stage != self._stage:
            self._stage = stage
            self._notice(stage)

    def boot_log(self) -> BootLog:
        """The numbers of the start so far."""
        return parse_boot_log(self._boot or ())

    def arrive(self) -> None:
        """It answers: what comes now is no start."""
        self._boot = None

    def failure(self) -> Failure | None:
        """What vLLM's last words mean, if they are known."""
        return recognise(self._tail)

    def missing_bytes(self) -> int | None:
        """How much memory the start lacked, if its words say so."""
        return missing_bytes(self._tail)

    def last_error(self) -> str:
        """The last line that reads like an error, for failures nobody knows; empty if there is none."""
        for line in reversed(self._tail):
            if _CONSEQUENCE not in line and (match := _ERROR.search(line)):
                return match[0].strip()[:_LONGEST_QUOTE]
        return ""
