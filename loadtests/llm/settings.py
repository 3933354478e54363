"""Every knob of the load, from environment variables named LOADTEST_…, with their defaults. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

PREFIX = "LOADTEST_"


class SettingError(ValueError):
    """A variable that can't be used; its text is one sentence."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Weights are shares of users (0: none); durations in seconds; lengths in tokens or bytes as named."""

    host: str = "http://127.0.0.1:8000"
    api_key: str = ""
    models: tuple[str, ...] = ()
    """Generating base models; empty: those that /v1/models lists, less the embedding models."""
    embedding_models: tuple[str, ...] = ()

    chat_weight: int = 6
    long_prompt_weight: int = 1
    adapter_weight: int = 2
    impatient_weight: int = 1
    embedding_weight: int = 1
    """Counts only if there are embedding models."""

    think_min_s: float = 0.5
    think_max_s: float = 2.0
    """Pause of a user between two requests: users and pause together make the rate."""

    tokens_min: int = 16
    tokens_max: int = 128
    turns: int = 4
    """Turns of a conversation before a user begins a new one."""
    prompt_bytes: int = 400
    long_prompt_bytes: int = 20_000
    embedding_batch: int = 8

    def __post_init__(self) -> None:
        """Check what only makes sense together."""
        for low, high in (("think_min_s", "think_max_s"), ("tokens_min", "tokens_max")):
            if getattr(self, low) > getattr(self, high):
                raise SettingError(f"{_variable(low)} is above {_variable(high)}")
        if self.tokens_min < 1:
            raise SettingError(f"{_variable('tokens_min')} has to be at least 1")


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _read(name: str, text: str, default: object) -> object:
    if isinstance(default, tuple):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if isinstance(default, str):
        return text
    try:
        value = int(text) if isinstance(default, int) else float(text)
    except ValueError:
        raise SettingError(f"{_variable(name)}={text} is not a number") from None
    if value < 0:
        raise SettingError(f"{_variable(name)}={text} is negative")
    return value


def from_environment(environ: Mapping[str, str]) -> Settings:
    """Read the settings.

    Raises:
        SettingError: a value that is no number, a negative one, or a name that no setting has.
    """
    names = {_variable(field.name): field for field in fields(Settings)}
    given = {key: text for key, text in environ.items() if key.startswith(PREFIX)}
    if unknown := sorted(given.keys() - names.keys()):
        raise SettingError(f"{unknown[0]} is not a setting; there are {', '.join(sorted(names))}")
    values = {
        names[key].name: _read(names[key].name, text, names[key].default) for key, text in given.items()
    }
    return Settings(**values)  # type: ignore[arg-type]  # _read keeps each default's type
