"""Which figures of which scenario go into the tables, and how a figure is written. Pure."""

from dataclasses import dataclass

from loadtests.bench.goals import CPU_EVENT, CPU_REQUEST, DELAY, MEMORY
from loadtests.bench.stats import ADDED_MEDIAN

MB = 1e6


@dataclass(frozen=True, slots=True)
class Column:
    """One figure: its metric, heading, unit divisor and decimals."""

    metric: str
    heading: str
    divisor: float = 1.0
    digits: int = 0
    compared: bool = False
    """Lower is better, and ratios of it mean something."""

    def write(self, value: float) -> str:
        return f"{value / self.divisor:,.{self.digits}f}"


_REQUESTS = (
    Column(CPU_REQUEST, "CPU µs/request", digits=1, compared=True),
    Column("requests_per_s", "requests/s"),
    Column("latency_p50_us", "p50 ms", 1e3, 2),
    Column("latency_p99_us", "p99 ms", 1e3, 2),
)
_EVENTS = (
    Column(CPU_EVENT, "CPU µs/event", digits=1, compared=True),
    Column("events_per_s", "events/s"),
    Column("delay_p50_us", "delay p50 ms", 1e3, 2),
    Column(DELAY, "delay p99 ms", 1e3, 2, compared=True),
    Column("ttft_p50_us", "TTFT p50 ms", 1e3, 2),
    Column("byte_exact_share", "byte-exact %", 0.01),
)
COLUMNS: dict[str, tuple[Column, ...]] = {
    "S1": _REQUESTS,
    "S2": _REQUESTS,
    "S3": _EVENTS,
    "S3b": _EVENTS,
    "S4": _EVENTS,
    "S5": (
        Column(ADDED_MEDIAN, "added median µs", compared=True),
        Column("latency_p50_us", "p50 µs"),
        Column("latency_p99_us", "p99 µs"),
    ),
    "S6": (
        Column(MEMORY, "PSS MB at the peak", MB, 1, compared=True),
        Column("idle_pss_bytes", "PSS MB idle", MB, 1),
        Column("peak_streams", "streams"),
        Column(DELAY, "delay p99 ms", 1e3, 2),
    ),
    "S1u": _REQUESTS,
    "S3u": _EVENTS,
}
COMPARED = tuple(
    (scenario, column) for scenario, columns in COLUMNS.items() for column in columns if column.compared
)
