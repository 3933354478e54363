"""Who ends up in which pool."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.fleet.grouping import Group, group, offers_of
from gateway.fleet.observation import DeclaredPool, Observation, ServedModel
from gateway.fleet.snapshot import State
from tests.unit.fleet.fleets import DEFAULTS, adapter, base, declared, seen


def grouped(
    *replicas: Observation, pools: tuple[DeclaredPool, ...] = (), former: tuple[str, ...] = ()
) -> tuple[dict[str, list[str]], list[str]]:
    groups, warnings = group(pools, replicas, DEFAULTS, former)
    return {g.name: [member.url for member in g.members] for g in groups}, warnings


# -- discovered --


def test_servers_of_one_model_form_a_pool_and_another_model_another_pool() -> None:
    pools, warnings = grouped(seen("a", base("x")), seen("b", base("y")), seen("c", base("x")))
    assert pools == {"x": ["a", "c"], "y": ["b"]}
    assert warnings == []


def test_pools_that_nobody_declared_have_the_default_options() -> None:
    groups, _ = group([], [seen("a", base("x"))], DEFAULTS, ())
    assert groups[0].options is DEFAULTS


def test_servers_are_connected_through_a_third_that_shares_a_name_with_both() -> None:
    pools, _ = grouped(seen("a", base("x")), seen("b", base("y")), seen("c", base("y", "w"), base("x", "w")))
    assert pools == {"x": ["a", "b", "c"]}


def test_a_shared_adapter_name_connects_nobody() -> None:
    pools, _ = grouped(seen("a", base("x"), adapter("sql", "x")), seen("b", base("y"), adapter("sql", "y")))
    assert pools == {"x": ["a"], "y": ["b"]}


def test_a_server_with_two_models_of_different_weights_is_in_two_pools() -> None:
    pools, _ = grouped(seen("a", base("x"), base("y")), seen("b", base("y")))
    assert pools == {"x": ["a"], "y": ["a", "b"]}


def test_a_server_that_was_never_read_is_in_no_pool() -> None:
    assert grouped(seen("a", read=False, state=State.STARTING)) == ({}, [])


def test_a_server_that_is_down_stays_in_the_pool_it_was_in() -> None:
    assert grouped(seen("a", base("x"), state=State.REFUSED)) == ({"x": ["a"]}, [])


def test_a_server_in_one_component_twice_is_one_member() -> None:
    pools, _ = grouped(seen("a", base("x", "1"), base("y", "2")), seen("b", base("x", "3"), base("y", "3")))
    assert pools == {"x": ["a", "b"]}


def test_the_pool_is_named_after_the_first_name_of_the_first_server() -> None:
    pools, _ = grouped(seen("a", base("long/name", "w"), base("short", "w")), seen("b", base("short", "w")))
    assert pools == {"long/name": ["a", "b"]}


def test_a_pool_keeps_its_name_when_an_earlier_server_turns_up() -> None:
    late = seen("a", base("long/name", "w"), base("short", "w"))
    pools, _ = grouped(late, seen("b", base("short", "w")), former=("short",))
    assert pools == {"short": ["a", "b"]}


def test_of_two_pools_that_become_one_the_former_first_name_stays() -> None:
    bridge = seen("c", base("y", "w"), base("x", "w"))
    pools, _ = grouped(seen("a", base("x")), seen("b", base("y")), bridge, former=("y", "x"))
    assert pools == {"y": ["a", "b", "c"]}


# -- declared --


def test_a_declared_pool_holds_its_replicas_before_anything_was_seen_of_them() -> None:
    starting = seen("a", pool="qwen", read=False, state=State.STARTING)
    assert grouped(starting, pools=(declared("qwen"),)) == ({"qwen": ["a"]}, [])


def test_a_declared_pool_without_a_replica_exists() -> None:
    assert grouped(pools=(declared("qwen"),)) == ({"qwen": []}, [])


def test_a_declared_replica_that_serves_something_else_stays_and_is_told_about() -> None:
    wrong = seen("http://a:1", base("X"), base("Z"), pool="qwen")
    pools, warnings = grouped(wrong, pools=(declared("qwen", "Y"),))
    assert pools == {"qwen": ["http://a:1"]}
    assert warnings == ["http://a:1 serves X, Z, not Y: set served_name of qwen or fix the URL"]


def test_a_declared_replica_that_serves_nothing_is_told_about() -> None:
    _, warnings = grouped(seen("http://a:1", pool="qwen"), pools=(declared("qwen"),))
    assert warnings == ["http://a:1 serves no model, not qwen: set served_name of qwen or fix the URL"]


def test_a_wrong_replica_does_not_lend_its_names_to_the_pool() -> None:
    groups, _ = group([declared("qwen")], [seen("a", base("X"), pool="qwen")], DEFAULTS, ())
    assert groups[0].offers == ()


def test_a_discovered_server_joins_the_declared_pool_whose_served_name_it_lists() -> None:
    pools, warnings = grouped(
        seen("a", pool="qwen", read=False), seen("b", base("Qwen/Q")), pools=(declared("qwen", "Qwen/Q"),)
    )
    assert pools == {"qwen": ["a", "b"]}
    assert warnings == []


def test_a_discovered_server_joins_by_any_name_that_the_pools_own_replicas_list() -> None:
    mine = seen("a", base("qwen", "w"), base("q", "w"), pool="qwen")
    assert grouped(mine, seen("b", base("q")), pools=(declared("qwen"),))[0] == {"qwen": ["a", "b"]}


def test_a_discovered_server_does_not_join_by_what_a_wrong_replica_lists() -> None:
    wrong = seen("a", base("other"), pool="qwen")
    pools, _ = grouped(wrong, seen("b", base("other")), pools=(declared("qwen"),))
    assert pools == {"qwen": ["a"], "other": ["b"]}


def test_a_server_that_fits_two_declared_pools_joins_the_first_and_is_told_about() -> None:
    both = seen("http://c:1", base("b", "w"), base("a", "w"))
    pools, warnings = grouped(both, pools=(declared("a"), declared("b")))
    assert pools == {"a": ["http://c:1"], "b": []}
    assert warnings == ["http://c:1 serves the models of a, b: it joined a"]


def test_a_server_connected_to_a_declared_pool_only_through_another_joins_it() -> None:
    pools, _ = grouped(
        seen("b", base("a", "w"), base("c", "w")), seen("d", base("c")), pools=(declared("a"), declared("z"))
    )
    assert pools == {"a": ["b", "d"], "z": []}


def test_a_server_that_can_only_be_called_like_another_pool_is_told_about() -> None:
    pools, warnings = grouped(seen("http://b:1", base("qwen")), pools=(declared("qwen", "Qwen/Q"),))
    assert pools == {"qwen": []}
    assert warnings == [
        "http://b:1 can't be reached: what it calls its model (qwen) is declared as the name of another"
    ]


def test_a_server_with_a_second_name_is_called_by_that_when_the_first_is_taken() -> None:
    pools, _ = grouped(seen("b", base("qwen", "w"), base("other", "w")), pools=(declared("qwen", "Qwen/Q"),))
    assert pools == {"qwen": [], "other": ["b"]}


# -- offers --


def test_an_adapter_belongs_to_the_model_of_its_parent() -> None:
    first, second = offers_of(seen("a", base("x"), base("y"), adapter("sql", "y")))
    assert (first.adapters, second.adapters) == ((), (adapter("sql", "y"),))


def test_an_adapter_of_an_unlisted_parent_belongs_to_the_first_model() -> None:
    first, second = offers_of(seen("a", base("x"), base("y"), adapter("sql", "org/x")))
    assert (first.adapters, second.adapters) == ((adapter("sql", "org/x"),), ())


def test_models_without_a_root_are_told_apart_by_name() -> None:
    assert len(offers_of(seen("a", ServedModel("x"), ServedModel("y")))) == 2


def test_a_listing_of_nothing_but_adapters_offers_nothing() -> None:
    assert offers_of(seen("a", adapter("sql", "x"))) == []


# -- invariants --

names = st.sampled_from("pqrs")
models = st.lists(
    st.builds(ServedModel, names, st.none() | names, st.none() | st.sampled_from("12")), max_size=4
).map(tuple)


@st.composite
def fleets(draw: st.DrawFn) -> tuple[list[DeclaredPool], list[Observation]]:
    pools = [
        declared(name, draw(names), *draw(st.lists(names, max_size=2)))
        for name in draw(st.lists(names, unique=True, max_size=3))
    ]
    homes = st.none() | st.sampled_from([pool.name for pool in pools]) if pools else st.none()
    replicas = [
        seen(f"http://{i}", *draw(models), pool=draw(homes), read=draw(st.booleans()))
        for i in range(draw(st.integers(0, 5)))
    ]
    return pools, replicas


@given(fleets())
def test_every_fleet_has_distinct_pools_with_each_replica_at_most_once(
    fleet: tuple[list[DeclaredPool], list[Observation]],
) -> None:
    pools, replicas = fleet
    groups, _ = group(pools, replicas, DEFAULTS, ())
    assert [g.name for g in groups][: len(pools)] == [pool.name for pool in pools]
    assert len({g.name for g in groups}) == len(groups)
    for g in groups:
        urls = [member.url for member in g.members]
        assert len(set(urls)) == len(urls)
        assert {offer.replica.url for offer in g.offers} <= set(urls)
    for replica in replicas:
        if replica.pool is not None:
            assert [g.name for g in groups if replica in g.members] == [replica.pool]


@given(fleets())
def test_drawing_the_same_fleet_again_changes_nothing(
    fleet: tuple[list[DeclaredPool], list[Observation]],
) -> None:
    pools, replicas = fleet
    groups, warnings = group(pools, replicas, DEFAULTS, ())
    assert group(pools, replicas, DEFAULTS, [g.name for g in groups]) == (groups, warnings)


@given(fleets())
def test_discovered_servers_of_one_name_are_never_torn_apart(
    fleet: tuple[list[DeclaredPool], list[Observation]],
) -> None:
    _, replicas = fleet
    strangers = [replica for replica in replicas if replica.pool is None]
    groups, _ = group([], strangers, DEFAULTS, ())

    def home(url: str, name: str) -> Group:
        return next(g for g in groups for o in g.offers if o.replica.url == url and name in o.names)

    places = [(r.url, model.id) for r in strangers for o in offers_of(r) for model in o.base]
    for url, name in places:
        for other, same in places:
            if name == same and url != other:
                shared = {
                    g.name for g in groups for o in g.offers if o.replica.url == other and name in o.names
                }
                assert home(url, name).name in shared
