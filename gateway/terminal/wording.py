"""How numbers are said to people."""

_STEPS = ((60.0, 1.0, "s"), (3600.0, 60.0, "min"), (86_400.0, 3600.0, "h"), (float("inf"), 86_400.0, "d"))


def duration(seconds: float) -> str:
    """Like `4.2 ms`, `850 ms`, `3.1 s`, `12 min`: two digits where they tell something."""
    if seconds < 1:
        ms = max(seconds, 0.0) * 1000
        return f"{ms:.1f} ms" if ms < 10 else f"{ms:.0f} ms"  # noqa: PLR2004  (two digits)
    if seconds < 10:  # noqa: PLR2004
        return f"{seconds:.1f} s"
    size, unit = next((size, unit) for below, size, unit in _STEPS if seconds < below)
    return f"{int(seconds / size)} {unit}"


def ago(seconds: float) -> str:
    """Like `12 min ago`."""
    return f"{duration(seconds)} ago"


def plural(count: int, noun: str) -> str:
    """Like `1 replica` or `3 replicas`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
