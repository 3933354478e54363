"""One measurement: load a peer with one scenario, and work out what a request or an event of it cost."""

import http.client
import json
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from loadtests.bench.errors import BenchError
from loadtests.bench.native import NativePrograms
from loadtests.bench.peers import Peer
from loadtests.bench.processes import Program
from loadtests.bench.scenarios import Scenario
from loadtests.bench.stage import Counters, Stage, set_up

DISTURBED_CPUS = 0.35
"""CPUs that others may use during a run; above, the run counts as disturbed."""
SETTLE_S = 0.5
"""What the warm-up leaves behind (connections being closed) is not the load's cost."""
LOAD_LIMIT_S = 300.0
FAILURES = ("bad_status", "bad_connection", "bad_http", "bad_answer", "unfinished")


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one run gave. `metrics` are plain numbers with the unit at the end of each name."""

    peer: str
    scenario: str
    repetition: int
    when: str
    errors: int
    """Requests that did not end well; 1 if the run as a whole failed."""
    complaint: str
    metrics: Mapping[str, float] = field(default_factory=dict)

    def foreign_cpus(self) -> float:
        return self.metrics.get("foreign_cpus", 0.0)

    def is_disturbed(self) -> bool:
        return self.foreign_cpus() > DISTURBED_CPUS

    def has_figures(self) -> bool:
        """Whether any request ended well."""
        return self.metrics.get("good", 0) > 0

    def as_json(self) -> str:
        return json.dumps({"kind": "measurement", **asdict(self)})


def costs(result: Mapping[str, Any], before: Counters, after: Counters) -> dict[str, float]:
    """CPU per request and per event, counted by the replicas; who else used the machine's CPUs."""
    wall_s = float(result["wall_s"])
    peer_s = after.peer_s - before.peer_s
    load_s = after.replicas_s - before.replicas_s + float(result["cpu_s"])
    busy_s = after.machine.busy_s - before.machine.busy_s
    foreign_s = busy_s - peer_s - load_s - (after.own_s - before.own_s)
    requests, events = after.requests - before.requests, after.events - before.events
    metrics = {
        "good": float(result["good"]),
        "wall_s": wall_s,
        "requests_per_s": result["good"] / wall_s,
        "peer_cpus": peer_s / wall_s,
        "load_cpus": load_s / wall_s,
        "foreign_cpus": max(0.0, foreign_s / wall_s),
        "stolen_cpus": (after.machine.stolen_s - before.machine.stolen_s) / wall_s,
    }
    if requests and peer_s:
        metrics["cpu_us_per_request"] = peer_s / requests * 1e6
    if events:
        metrics["events_per_s"] = result["events"] / wall_s
        metrics["byte_exact_share"] = result["byte_exact"] / max(1, result["good"])
        if peer_s:
            metrics["cpu_us_per_event"] = peer_s / events * 1e6
    return metrics


def timings(result: Mapping[str, Any]) -> dict[str, float]:
    """The client's histograms as flat names: latency_p50_us, ttft_p99_us, delay_p99_us, …"""
    return {
        f"{what}_{quantile}_us": float(value)
        for what in ("latency", "ttft", "delay")
        for quantile, value in result.get(f"{what}_us", {}).items()
    }


def _watch_memory(stage: Stage, client: Program) -> dict[str, float]:
    """Memory of the peer at the moment when most streams run."""
    most, peak_bytes = 0, 0
    while not client.has_ended():
        streams = stage.running_streams()
        if streams and streams >= most:
            most = streams
            peak_bytes = max(peak_bytes, stage.peer_pss_bytes())
        time.sleep(1.0)
    return {"peak_streams": most, "peak_pss_bytes": peak_bytes}


class Bench:
    """Measures peers with the compiled programs, writing logs and configuration below `cache`."""

    def __init__(self, programs: NativePrograms, cache: Path, scale: float = 1.0) -> None:
        """`scale` below 1 shortens the loads."""
        self._programs = programs
        self._cache = cache
        self._scale = scale

    def measure(self, peer: Peer, scenario: Scenario, repetition: int) -> Measurement:
        """Run one scenario against one peer; a failed run is a measurement too."""
        when = time.strftime("%Y-%m-%dT%H:%M:%S")
        try:
            with set_up(self._programs, self._cache, peer, scenario) as stage:
                result, metrics = self._run(stage, scenario)
                stage.check_alive(peer.name)
        except (BenchError, OSError, http.client.HTTPException, subprocess.TimeoutExpired) as error:
            return Measurement(peer.name, scenario.name, repetition, when, 1, str(error))
        errors = sum(int(result[name]) for name in FAILURES)
        return Measurement(peer.name, scenario.name, repetition, when, errors, result["first_error"], metrics)

    def _run(self, stage: Stage, scenario: Scenario) -> tuple[dict[str, Any], dict[str, float]]:
        with stage.load(scenario.warm_up_options()) as warm_up:
            warm_up.process.communicate(timeout=LOAD_LIMIT_S)
        time.sleep(SETTLE_S)
        idle_bytes = stage.peer_pss_bytes()
        before = stage.counters()
        with stage.load(scenario.client_options(self._scale)) as client:
            memory = _watch_memory(stage, client) if scenario.watches_memory else {}
            output, _ = client.process.communicate(timeout=LOAD_LIMIT_S)
        after = stage.counters()
        result: dict[str, Any] = json.loads(output)
        metrics = costs(result, before, after) | timings(result) | memory
        return result, metrics | {"idle_pss_bytes": float(idle_bytes)}
