"""What a load profile says, and reading profiles.toml. Every mistake in it is one sentence."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec

DEFAULT_FILE = Path(__file__).parents[1] / "profiles.toml"

Count = Annotated[int, msgspec.Meta(ge=1)]
Words = Annotated[int, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(gt=0, le=1)]


class ProfileError(ValueError):
    """A profile that can't be used; its text is one sentence."""


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A misspelt key is a mistake, not a default."""


class Kind(_Strict, frozen=True):
    """One kind of user; profiles.toml explains the fields."""

    name: str
    share: Count
    prompt: tuple[Count, Count]
    think_s: tuple[Seconds, Seconds]
    answer: tuple[Count, Count] | None = None
    model: Literal["base", "adapter", "embedding"] = "base"
    shared: Words = 0
    turns: Count = 1
    leaves: Count | None = None
    texts: Count = 1

    def __post_init__(self) -> None:
        """Check what only makes sense together."""
        ranges = {"prompt": self.prompt, "think_s": self.think_s, "answer": self.answer or (1, 1)}
        for key, (low, high) in ranges.items():
            if low > high:
                raise ValueError(f"{key} of {self.name!r} goes from {low} down to {high}")
        if self.model != "embedding" and self.answer is None:
            raise ValueError(f"{self.name!r} has no answer = [from, to]")


class Profile(_Strict, frozen=True):
    """A mix of users and their arrival; profiles.toml explains the fields."""

    about: str
    users: Count
    seconds: Annotated[float, msgspec.Meta(gt=0)]
    arrival: str
    target_s: Annotated[float, msgspec.Meta(gt=0)]
    mix: Annotated[tuple[Kind, ...], msgspec.Meta(min_length=1)]

    def __post_init__(self) -> None:
        """Check what only makes sense together."""
        names = [kind.name for kind in self.mix]
        if len(set(names)) < len(names):
            raise ValueError("two kinds of users have the same name")

    def streams(self) -> bool:
        """Whether anybody reads tokens; embedding requests have none."""
        return any(kind.model != "embedding" for kind in self.mix)


class Catalogue(_Strict, frozen=True):
    """A file of profiles."""

    profiles: dict[str, Profile]
    arrivals: dict[str, Annotated[tuple[Share, ...], msgspec.Meta(min_length=1)]]

    def profile(self, name: str) -> Profile:
        """The profile of that name.

        Raises:
            ProfileError: there is none, or its arrival is not in the file.
        """
        if name not in self.profiles:
            raise ProfileError(f"There is no profile {name!r}; there are {_listed(self.profiles)}.")
        self.arrival(self.profiles[name].arrival)
        return self.profiles[name]

    def arrival(self, name: str) -> tuple[float, ...]:
        """The arrival of that name.

        Raises:
            ProfileError: there is none.
        """
        if name not in self.arrivals:
            raise ProfileError(f"There is no arrival {name!r}; there are {_listed(self.arrivals)}.")
        return self.arrivals[name]


def _listed(names: dict[str, Profile] | dict[str, tuple[float, ...]]) -> str:
    return ", ".join(sorted(names))


def read_profiles(path: Path) -> Catalogue:
    """Read a file of profiles.

    Raises:
        ProfileError: no such file, not TOML, or not what a profile says.
    """
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Catalogue)
    except OSError as error:
        raise ProfileError(f"{path} can't be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise ProfileError(f"{path}: {error}.") from None
