"""Goals against results."""

from loadtests.bench.goals import ALL, CPU_REQUEST, Goal, judge
from loadtests.bench.measure import Measurement
from loadtests.bench.peers import BY_NAME as PEERS
from loadtests.bench.scenarios import BY_NAME as SCENARIOS
from loadtests.bench.stats import Results

S1_GOAL = Goal("S1", CPU_REQUEST, 0.80, "vllm-router")


def s1(peer: str, cpu_us: float) -> Measurement:
    return Measurement(peer, "S1", 0, "2026-01-01", 0, "", {"good": 1.0, CPU_REQUEST: cpu_us})


def words(gateway_us: float) -> dict[Goal, str]:
    results = Results([s1("gateway", gateway_us), s1("vllm-router", 100.0)])
    return {verdict.goal: verdict.word() for verdict in judge(results)}


def test_a_goal_is_reached_at_its_limit_and_not_above() -> None:
    assert words(80.0)[S1_GOAL] == "reached"
    assert words(80.1)[S1_GOAL] == "not reached"


def test_a_goal_without_both_figures_is_not_measured() -> None:
    assert words(80.0)[Goal("S2", CPU_REQUEST, 0.75, "vllm-router")] == "not measured"


def test_every_goal_names_peers_and_scenarios_that_exist() -> None:
    for goal in ALL:
        assert {goal.peer, goal.other} <= PEERS.keys()
        assert goal.scenario in SCENARIOS
        assert goal.label()


def test_every_scenario_has_a_goal() -> None:
    assert {goal.scenario for goal in ALL} == SCENARIOS.keys()
