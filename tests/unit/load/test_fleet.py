"""Which models of a server a load may ask for."""

import pytest

from gateway.terminal.demo_replicas import OPTIONS
from loadtests.llm.fleet import Fleet, FleetError
from loadtests.llm.profiles import DEFAULT_FILE, read_profiles

HOST = "http://127.0.0.1:8000"
FLEET = Fleet(HOST, base=("llama", "qwen"), adapter=("sql",), embedding=("bge",))
PROFILES = read_profiles(DEFAULT_FILE).profiles


def test_a_server_of_every_sort_serves_every_profile() -> None:
    for profile in PROFILES.values():
        FLEET.check(profile.mix)


def test_the_demo_serves_every_profile() -> None:
    fleet = Fleet(
        HOST,
        base=tuple(options.model for options in OPTIONS if not options.pooling),
        adapter=tuple(name for options in OPTIONS for name, _ in options.adapters),
        embedding=tuple(options.model for options in OPTIONS if options.pooling),
    )
    for profile in PROFILES.values():
        fleet.check(profile.mix)


def test_users_ask_for_models_of_their_sort() -> None:
    adapter, base = PROFILES["adapters"].mix
    (embedding,) = PROFILES["embeddings"].mix
    assert FLEET.models(adapter) == ("sql",)
    assert FLEET.models(base) == ("llama", "qwen")
    assert FLEET.models(embedding) == ("bge",)


@pytest.mark.parametrize(
    ("profile", "fleet", "begin", "end"),
    [
        (
            "embeddings",
            Fleet(HOST, ("llama",), ("sql",), ()),
            "'embeddings' need an embedding model",
            "llama, sql",
        ),
        ("adapters", Fleet(HOST, ("llama",), (), ()), "'adapter' need a LoRA adapter", "llama"),
        ("chat", Fleet(HOST, (), (), ()), "'chat' need a generating model", "no model at all"),
    ],
)
def test_what_is_missing_is_one_sentence(profile: str, fleet: Fleet, begin: str, end: str) -> None:
    with pytest.raises(FleetError) as caught:
        fleet.check(PROFILES[profile].mix)
    assert str(caught.value).startswith(f"Users of kind {begin}")
    assert str(caught.value).endswith(f"; {HOST} has {end}.")


def test_only_chosen_models_are_asked() -> None:
    assert FLEET.narrowed(("qwen", "sql")) == Fleet(HOST, ("qwen",), ("sql",), ())
    assert FLEET.narrowed(()) == FLEET
    with pytest.raises(FleetError) as caught:
        FLEET.narrowed(("qwen", "gpt-4"))
    assert str(caught.value) == f"{HOST} has no model 'gpt-4'; it lists llama, qwen, sql, bge."
