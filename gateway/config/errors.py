"""What is wrong with a configuration, and how it is said: a line per problem, its place, what would be right.

Must never print a secret: values that may hold one (keys, URLs with a password) are described, not repeated.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

KeyPath = tuple[str | int, ...]
"""The way to a value from the top of the file: section keys and list positions (counted from 0)."""

_LONGEST_SHOWN = 60
_LARGEST_SHOWN = 10**30  # Python refuses to print integers of more than 4300 digits
_BARE_KEY = re.compile(r"[A-Za-z0-9_/-]+")


class Invalid(ValueError):
    """A value is not what its type wants. Raised by the schema's validators and turned into a `Problem`.

    `message` continues the sentence that begins with the key; `hint` says what would be right.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where, what, and (where it can be said) what would be right."""

    path: KeyPath
    line: int | None
    message: str
    hint: str = ""

    def render(self, source: str) -> str:
        """One line: `gateway.yaml:12: models.qwen.weight: 'x' is not a number (write 1 or 0.5)`."""
        place = source if self.line is None else f"{source}:{self.line}"
        key = f" {dotted(self.path)}:" if self.path else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}:{key} {self.message}{hint}"


class ConfigError(Exception):
    """A configuration can't be used. Holds every problem found, in the order of their lines."""

    def __init__(self, source: str, problems: Iterable[Problem]) -> None:
        self.source = source
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line or 0))
        super().__init__("\n".join(problem.render(source) for problem in self.problems))


def dotted(path: KeyPath) -> str:
    """A key path as people write it: `models.qwen.replicas[1].url`. Keys with dots or spaces are quoted."""
    text = ""
    for token in path:
        if isinstance(token, int):
            text += f"[{token}]"
        else:
            key = token if _BARE_KEY.fullmatch(token) else f'"{shown(token)[1:-1]}"'
            text += f".{key}" if text else key
    return text


def shown(value: object) -> str:
    """A value as an error message repeats it: YAML's words, shortened, unprintable characters escaped."""
    match value:
        case None:
            text = "an empty value"
        case bool():
            text = "true" if value else "false"
        case dict():
            text = "a section"
        case list() | tuple():
            text = "a list"
        case int() if abs(value) > _LARGEST_SHOWN:
            text = "a very large number"
        case _:
            text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 4]}...{text[-1]}"
