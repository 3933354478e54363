"""What a load is to do here, from environment variables named LOADTEST_…. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from loadtests.llm.profiles import DEFAULT_FILE

PREFIX = "LOADTEST_"


class SettingError(ValueError):
    """A variable that can't be used; its text is one sentence."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Each field is the variable LOADTEST_ with its name in capitals."""

    profile: str = "chat"
    """A profile's name in `profiles`."""
    arrival: str = ""
    """Instead of the profile's own."""
    target_s: float = 0.0
    """Instead of the profile's own, in seconds."""
    host: str = "http://127.0.0.1:8000"
    api_key: str = ""
    models: tuple[str, ...] = ()
    """Only these of the listed names, whether base model, adapter or embedding model; empty: all."""
    profiles: Path = DEFAULT_FILE
    reports: Path = Path(".cache/load")
    """Where each run gets a folder for its report."""


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _read(name: str, text: str, default: object) -> object:
    if isinstance(default, tuple):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if isinstance(default, Path):
        return Path(text).expanduser()
    if isinstance(default, str):
        return text
    try:
        value = float(text)
    except ValueError:
        raise SettingError(f"{_variable(name)}={text} is not a number.") from None
    if not 0 < value < float("inf"):
        raise SettingError(f"{_variable(name)}={text} is not a time above 0.")
    return value


def from_environment(environ: Mapping[str, str]) -> Settings:
    """Read the settings; an empty variable counts as none.

    Raises:
        SettingError: a value that is no number, or a name that no setting has.
    """
    names = {_variable(field.name): field for field in fields(Settings)}
    given = {key: text for key, text in environ.items() if key.startswith(PREFIX) and text}
    if unknown := sorted(given.keys() - names.keys()):
        raise SettingError(f"{unknown[0]} is not a setting; there are {', '.join(sorted(names))}.")
    values = {
        names[key].name: _read(names[key].name, text, names[key].default) for key, text in given.items()
    }
    return Settings(**values)  # type: ignore[arg-type]  # _read keeps each default's type
