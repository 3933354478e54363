"""Loads that never were."""

from collections.abc import Sequence

from loadtests.llm.measured import Timeline
from loadtests.llm.plan import plan
from loadtests.llm.profiles import DEFAULT_FILE, read_profiles
from loadtests.llm.stream import StreamedAnswer
from loadtests.report.run import Run

BEGAN = 1_000_000.0
STEPS = (0.25, 0.5, 0.75, 1.0)


def run(
    timeline: Timeline,
    name: str = "chat",
    shares: Sequence[float] = STEPS,
    users: int = 40,
    seconds: float = 80,
    lasted_s: float | None = None,
) -> Run:
    profile = read_profiles(DEFAULT_FILE).profile(name)
    ended = BEGAN + (seconds if lasted_s is None else lasted_s)
    return Run(
        name=f"{name}-step",
        profile=profile,
        arrival="step",
        host="http://127.0.0.1:8000",
        models=("llama-demo", "<b>qwen</b>"),
        target_s=1.0,
        plan=plan(shares, users, seconds),
        timeline=timeline,
        began=BEGAN,
        ended=ended,
        problems=((3, "chat: status 503: <no replica>"),),
    )


def chats(timeline: Timeline, begin_s: int, end_s: int, ttft_s: float, problem: str = "") -> None:
    """In each of these seconds a first token that took so long, and ten tokens."""
    for second in range(begin_s, end_s):
        first = BEGAN + second + 0.01
        began = first - ttft_s
        gaps_s = [0.04] * 9
        answer = StreamedAnswer(
            0.0, ttft_s, ttft_s + 0.36, gaps_s, tokens=10, prompt_tokens=50, problem=problem
        )
        timeline.streamed(answer, began, first + 0.36)


def steps_that_get_slow() -> Timeline:
    """Four levels of 20 s: TTFT 50 ms, 100 ms, 400 ms, 3 s."""
    timeline = Timeline()
    for level, ttft_s in enumerate((0.05, 0.1, 0.4, 3.0)):
        chats(timeline, 20 * level, 20 * (level + 1), ttft_s)
    return timeline
