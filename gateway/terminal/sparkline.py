"""A line of small bars."""

from collections.abc import Sequence

_BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float | None], width: int) -> str:
    """The newest `width` values, the largest of them as a full bar; a blank where there is no value.

    Padded on the left, so that now is always at the right end.
    """
    newest = values[-width:]
    top = max((value for value in newest if value is not None), default=0.0)
    return "".join(_bar(value, top) for value in newest).rjust(width)


def _bar(value: float | None, top: float) -> str:
    if value is None:
        return " "
    return _BARS[round(value / top * (len(_BARS) - 1))] if top > 0 else _BARS[0]
