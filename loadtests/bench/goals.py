"""The goals this project set itself, and whether a run reached them. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from loadtests.bench.peers import GATEWAY
from loadtests.bench.stats import ADDED_MEDIAN, Results, Spread

CPU_REQUEST = "cpu_us_per_request"
CPU_EVENT = "cpu_us_per_event"
DELAY = "delay_p99_us"
MEMORY = "peak_pss_bytes"
LABELS = {
    CPU_REQUEST: "CPU/request",
    CPU_EVENT: "CPU/event",
    DELAY: "delay p99",
    MEMORY: "memory at the peak",
    ADDED_MEDIAN: "added median latency",
}


@dataclass(frozen=True, slots=True)
class Goal:
    """The gateway's figure is to be at most `limit` times the other's."""

    scenario: str
    metric: str
    limit: float
    other: str
    level: Literal["goal", "stretch"] = "goal"
    peer: str = GATEWAY

    def __str__(self) -> str:
        return f"at most {self.limit:.2f} x {self.other}"

    def label(self) -> str:
        return LABELS[self.metric]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run says about a goal; `measured` is None if it lacks one of the two figures."""

    goal: Goal
    measured: Spread | None

    def word(self) -> str:
        if self.measured is None:
            return "not measured"
        return "reached" if self.measured.median <= self.goal.limit else "not reached"


ALL = (
    Goal("S1", CPU_REQUEST, 0.80, "vllm-router"),
    Goal("S1", CPU_REQUEST, 1.1, "envoy", "stretch"),
    Goal("S2", CPU_REQUEST, 0.75, "vllm-router"),
    Goal("S2", CPU_REQUEST, 1.2, "envoy", "stretch"),
    Goal("S3", CPU_EVENT, 1.0, "vllm-router"),
    Goal("S3", DELAY, 1.0, "vllm-router"),
    Goal("S3", CPU_EVENT, 1.1, "haproxy", "stretch"),
    Goal("S3b", CPU_EVENT, 1.1, "vllm-router"),
    Goal("S3b", DELAY, 1.0, "envoy"),
    Goal("S3b", CPU_EVENT, 1.0, "vllm-router", "stretch"),
    Goal("S3b", DELAY, 1.0, "vllm-router", "stretch"),
    Goal("S4", CPU_EVENT, 1.0, "sglang-router"),
    Goal("S4", DELAY, 2.0, "nginx"),
    Goal("S4", CPU_EVENT, 1.0, "nginx", "stretch"),
    Goal("S4", DELAY, 1.0, "nginx", "stretch"),
    Goal("S5", ADDED_MEDIAN, 1.0, "vllm-router"),
    Goal("S5", ADDED_MEDIAN, 1.2, "nginx", "stretch"),
    Goal("S6", MEMORY, 0.6, "vllm-router"),
    Goal("S6", MEMORY, 0.6, "envoy", "stretch"),
    Goal("S1u", CPU_REQUEST, 1.1, GATEWAY, peer=f"{GATEWAY}-2w"),
    Goal("S3u", CPU_EVENT, 1.1, GATEWAY, peer=f"{GATEWAY}-2w"),
)


def judge(results: Results) -> Iterator[Verdict]:
    """Every goal against a run's results."""
    for goal in ALL:
        yield Verdict(goal, results.ratio(goal.peer, goal.other, goal.scenario, goal.metric))
