"""The load profiles: those we ship, and mistakes in those that others write."""

from pathlib import Path

import pytest

from loadtests.llm.profiles import DEFAULT_FILE, ProfileError, read_profiles

ONE = """
[profiles.mine]
about = "Mine"
users = 5
seconds = 10
arrival = "steady"
target_s = 1
mix = [{ name = "ask", share = 1, prompt = [10, 20], answer = [5, 9], think_s = [0, 1] }]

[arrivals]
steady = [1]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "profiles.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_ones_are_those_that_are_named() -> None:
    catalogue = read_profiles(DEFAULT_FILE)
    assert set(catalogue.profiles) == {
        *("chat", "rag", "agents", "embeddings", "adapters", "burst", "step", "soak")
    }
    for name in catalogue.profiles:
        assert catalogue.profile(name).mix


def test_only_embeddings_have_no_tokens_to_read() -> None:
    profiles = read_profiles(DEFAULT_FILE).profiles
    assert [name for name, profile in profiles.items() if not profile.streams()] == ["embeddings"]


def test_a_profile_of_ones_own_is_read(tmp_path: Path) -> None:
    profile = read_profiles(written(tmp_path, ONE)).profile("mine")
    (kind,) = profile.mix
    assert (profile.users, kind.name, kind.answer, kind.model, kind.turns) == (5, "ask", (5, 9), "base", 1)


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("share = 1", "share = 0", ">= 1"),
        ("share = 1", "shares = 1", "shares"),
        ("answer = [5, 9], ", "", "'ask' has no answer = [from, to]"),
        ("[10, 20]", "[20, 10]", "prompt of 'ask' goes from 20 down to 10"),
        ("steady = [1]", "steady = [2]", "<= 1"),
        ("steady = [1]", "steady = []", "length >= 1"),
        ("mix = [", "mix = [[", ""),
        ('name = "ask", share = 1', 'name = "ask", share = 1, model = "large"', "large"),
    ],
)
def test_a_mistake_is_one_sentence_with_the_file(tmp_path: Path, old: str, new: str, part: str) -> None:
    path = written(tmp_path, ONE.replace(old, new))
    with pytest.raises(ProfileError) as caught:
        read_profiles(path)
    assert str(path) in str(caught.value)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_kinds_of_users_can_not_share_a_name(tmp_path: Path) -> None:
    twice = ONE.replace("mix = [", 'mix = [{ name = "ask", share = 1, prompt = [1, 1], answer = [1, 1], '
                        "think_s = [0, 0] }, ")  # fmt: skip
    with pytest.raises(ProfileError, match="two kinds of users have the same name"):
        read_profiles(written(tmp_path, twice))


def test_a_name_that_nobody_has_comes_with_those_that_there_are(tmp_path: Path) -> None:
    catalogue = read_profiles(written(tmp_path, ONE))
    with pytest.raises(ProfileError) as caught:
        catalogue.profile("yours")
    assert str(caught.value) == "There is no profile 'yours'; there are mine."
    with pytest.raises(ProfileError) as caught:
        catalogue.arrival("storm")
    assert str(caught.value) == "There is no arrival 'storm'; there are steady."


def test_an_arrival_that_a_profile_names_and_nobody_describes_is_found(tmp_path: Path) -> None:
    catalogue = read_profiles(written(tmp_path, ONE.replace('"steady"', '"storm"')))
    with pytest.raises(ProfileError, match="no arrival 'storm'"):
        catalogue.profile("mine")


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"nowhere.toml can't be read: No such file or directory"):
        read_profiles(tmp_path / "nowhere.toml")
