"""Figures as text, and the sentences a reader wants first. Pure."""

from collections.abc import Iterator, Sequence

from loadtests.report.run import Level, Run

NONE = "-"
BUSY_CPU = 80.0
"""Percent of a core from which on Locust's own waiting shows in the figures."""


def duration(seconds: float) -> str:
    """Three digits, in ms below a second."""
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 100 else f"{seconds:,.0f} s"


def measured(seconds: float | None) -> str:
    """Two digits, which is what was measured; several events that arrive as one are no time apart."""
    if seconds is None:
        return NONE
    return "< 1 ms" if seconds < 0.001 else duration(float(f"{seconds:.2g}"))


def rate(per_s: float) -> str:
    return f"{per_s:,.0f}" if per_s >= 10 else f"{per_s:.1f}"


def share(part: int, whole: int) -> str:
    """In percent, and never 0 % of something."""
    percent = 100 * part / whole
    return f"{percent:.2g} %" if 0 < percent < 1 else f"{percent:.0f} %"


def findings(run: Run) -> Iterator[str]:
    """What the run says about the target, and what to be careful about; one sentence each."""
    levels = run.levels()
    if run.plan.is_staircase():
        yield _how_far(run, levels)
    else:
        yield _over_time(run, levels)
    total = run.total()
    if total.failures:
        failed = share(total.failures, total.requests)
        yield f"{failed} of the requests failed ({total.failures:,} of {total.requests:,})."
    if total.locust_cpu > BUSY_CPU:
        yield (
            f"Locust used up to {total.locust_cpu:.0f} % of a core: its own waiting is in these figures. "
            "Spread it with --processes -1."
        )


def is_good(run: Run, level: Level) -> bool:
    """Whether everybody was answered, 95 of 100 within the target."""
    p95 = run.waited(level.seen).quantile(0.95)
    return p95 is not None and p95 <= run.target_s and not level.seen.failures


def good_levels(run: Run, levels: Sequence[Level]) -> list[Level]:
    """The levels from the lowest on up to the last good one."""
    good: list[Level] = []
    for level in levels:
        if not is_good(run, level):
            break
        good.append(level)
    return good


def _how_far(run: Run, levels: Sequence[Level]) -> str:
    good = good_levels(run, levels)
    target = f"{run.waited_for} p95 within {duration(run.target_s)}"
    if not good:
        return f"{target} is not kept even with {levels[0].users} users: {_trouble(run, levels[0])}."
    best = good[-1]
    tokens = best.seen.output_tokens if run.profile.streams() else best.seen.prompt_tokens
    sort = "output" if run.profile.streams() else "prompt"
    kept = (
        f"{target} is kept up to {best.users} users: {rate(best.per_s(best.seen.requests))} requests/s, "
        f"{rate(best.per_s(tokens))} {sort} tokens/s"
    )
    if len(good) == len(levels):
        return f"{kept}. That is the highest level there was, so the limit lies above it."
    after = levels[len(good)]
    return f"{kept}. With {after.users} users {_trouble(run, after)}."


def _trouble(run: Run, level: Level) -> str:
    if level.seen.failures:
        return f"{share(level.seen.failures, level.seen.requests)} of the requests fail"
    p95 = run.waited(level.seen).quantile(0.95)
    return f"it is {measured(p95)}" if p95 else "nobody was answered while the level counted"


def _over_time(run: Run, levels: Sequence[Level]) -> str:
    p95s = [(run.waited(level.seen).quantile(0.95), level) for level in levels]
    worst, level = max(p95s, key=lambda pair: pair[0] or 0.0)
    if worst is None:
        return "Nobody was answered."
    verdict = "within" if worst <= run.target_s else "above"
    when = (
        f" at worst, with {level.users} users from second {level.begins_s:.0f} on" if len(levels) > 1 else ""
    )
    return (
        f"{run.waited_for} p95 is {measured(worst)}{when}: {verdict} the target of {duration(run.target_s)}."
    )
