"""What a client may write in `"model"`, and where it leads."""

from gateway.fleet.catalogue import draw
from gateway.fleet.observation import DeclaredPool, Observation
from gateway.fleet.snapshot import ModelName, State
from tests.unit.fleet.fleets import DEFAULTS, adapter, base, declared, seen


def named(
    *replicas: Observation, pools: tuple[DeclaredPool, ...] = ()
) -> tuple[dict[str, ModelName], tuple[str, ...]]:
    catalogue = draw(pools, replicas, DEFAULTS)
    return dict(catalogue.names), catalogue.warnings


def test_a_base_model_is_called_as_its_server_calls_it() -> None:
    names, _ = named(seen("a", base("x")))
    assert names == {
        "x": ModelName(name="x", pool="x", upstream="x", root="weights/x", max_model_len=4096, listed=True)
    }


def test_all_served_names_of_a_server_lead_to_its_pool_and_are_sent_on_as_they_are() -> None:
    names, _ = named(seen("a", base("x", "w"), base("y", "w")))
    assert {n.name: (n.pool, n.upstream) for n in names.values()} == {"x": ("x", "x"), "y": ("x", "y")}


def test_a_declared_name_and_its_aliases_are_rewritten_to_the_served_name() -> None:
    names, _ = named(
        seen("a", base("Qwen/Q"), pool="qwen"), pools=(declared("qwen", "Qwen/Q", "gpt-4o-mini"),)
    )
    meaning = ("qwen", "Qwen/Q", "weights/Qwen/Q")
    found = {n.name: (n.pool, n.upstream, n.root) for n in names.values()}
    assert found == {"qwen": meaning, "Qwen/Q": meaning, "gpt-4o-mini": meaning}


def test_a_declared_model_is_known_before_any_replica_was_seen() -> None:
    names, _ = named(seen("a", pool="qwen", read=False, state=State.STARTING), pools=(declared("qwen"),))
    assert names["qwen"] == ModelName(name="qwen", pool="qwen", upstream="qwen", listed=False)


def test_an_adapter_leads_to_the_pool_of_its_base_and_says_so() -> None:
    names, _ = named(seen("a", base("x")), seen("b", base("x"), adapter("sql", "x")))
    assert names["sql"] == ModelName(
        name="sql", pool="x", upstream="sql", parent="x", root="adapters/sql", listed=True
    )


def test_the_smallest_context_of_the_usable_replicas_counts() -> None:
    names, _ = named(
        seen("a", base("x", length=8192)),
        seen("b", base("x", length=4096)),
        seen("c", base("x", length=1024), state=State.REFUSED),
        seen("d", base("x", length=512), draining=True),
        seen("e", base("x", length=None)),
    )
    assert names["x"].max_model_len == 4096


def test_a_model_whose_replicas_are_all_down_is_known_but_not_listed() -> None:
    names, _ = named(seen("a", base("x"), adapter("sql", "x"), state=State.REFUSED))
    assert {name: n.listed for name, n in names.items()} == {"x": False, "sql": False}
    assert names["x"].root == "weights/x"


def test_a_usable_replica_is_believed_before_one_that_is_down() -> None:
    names, _ = named(seen("a", base("x", "old"), state=State.REFUSED), seen("b", base("x", "new")))
    assert names["x"].root == "new"


def test_a_draining_or_hung_replica_lists_nothing() -> None:
    names, _ = named(seen("a", base("x"), draining=True), seen("b", base("y"), hung=True))
    assert {name: n.listed for name, n in names.items()} == {"x": False, "y": False}


# -- conflicts --


def test_an_alias_wins_against_the_name_of_a_discovered_server() -> None:
    names, warnings = named(seen("a", base("gpt")), pools=(declared("qwen", None, "gpt"),))
    assert names["gpt"].pool == "qwen"
    assert warnings == (
        "a can't be reached: what it calls its model (gpt) is declared as the name of another",
    )


def test_an_alias_wins_against_a_further_name_of_a_discovered_server() -> None:
    names, warnings = named(
        seen("a", base("x", "w"), base("gpt", "w")), pools=(declared("qwen", None, "gpt"),)
    )
    assert (names["x"].pool, names["gpt"].pool) == ("x", "qwen")
    assert warnings == ("gpt is an alias of qwen and a served name of x: requests for it go to qwen",)


def test_an_adapter_that_two_pools_have_leads_to_the_first_and_is_told_about_once() -> None:
    names, warnings = named(
        seen("a", base("x"), adapter("sql", "x")),
        seen("b", base("y"), adapter("sql", "y")),
        seen("c", base("y"), adapter("sql", "y")),
    )
    assert names["sql"].pool == "x"
    assert warnings == ("sql is an adapter of x and an adapter of y: requests for it go to x",)


def test_an_adapter_loses_against_the_name_of_another_model() -> None:
    names, warnings = named(seen("a", base("x"), adapter("y", "x")), seen("b", base("y")))
    assert names["y"].pool == "y"
    assert warnings == ("y is the name of y and an adapter of x: requests for it go to y",)


def test_two_declared_pools_of_one_served_name_share_the_servers_name_in_favour_of_the_first() -> None:
    names, warnings = named(
        seen("a", base("Q"), pool="one"),
        seen("b", base("Q"), pool="two"),
        pools=(declared("one", "Q"), declared("two", "Q")),
    )
    assert {n.name: n.pool for n in names.values()} == {"one": "one", "two": "two", "Q": "one"}
    assert warnings == ("Q is the served name of one and the served name of two: requests for it go to one",)


def test_an_adapter_called_like_its_own_base_is_no_conflict() -> None:
    names, warnings = named(seen("a", base("x"), adapter("x", "x")))
    assert names["x"].parent is None
    assert warnings == ()
