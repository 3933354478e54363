"""Rules in which a minute lasts a second, so that a test need not wait for hours."""

import re

_WINDOW = re.compile(r"\[(\d+)([mh])\]")
_FOR = re.compile(r"^(\s+for: )(\d+)([mh])$", re.MULTILINE)
_MINUTES = {"m": 1, "h": 60}


def compressed(rules: str) -> str:
    """The same rules with every window and every `for` divided by 60. Names of recorded series stay."""
    rules = _WINDOW.sub(lambda found: f"[{int(found[1]) * _MINUTES[found[2]]}s]", rules)
    return _FOR.sub(lambda found: f"{found[1]}{int(found[2]) * _MINUTES[found[3]]}s", rules)


def seconds(duration: str) -> int:
    """A duration of a compose file, such as `75s` or `30m`."""
    return int(duration[:-1]) * {"s": 1, "m": 60, "h": 3600}[duration[-1]]
