"""Points of charts, kept by pool for a while."""

from dataclasses import replace

from gateway.telemetry.series import Point, Series

POINT = Point(0.0, 1.0, 0.0, None, None, None, None, 0, 0)


def at(*times: float) -> list[Point]:
    return [replace(POINT, time=time) for time in times]


def test_points_come_back_in_order_and_only_the_newer_ones() -> None:
    series = Series()
    for point in at(10, 15, 20):
        series.add({"chat": point})
    assert series.since(0) == {"chat": at(10, 15, 20)}
    assert series.since(15) == {"chat": at(20)}
    assert series.since(20) == {}


def test_points_older_than_the_window_are_forgotten() -> None:
    series = Series(window_s=10)
    for point in at(0, 5, 10, 15):
        series.add({"chat": point})
    assert series.since(-1) == {"chat": at(10, 15)}


def test_a_pool_that_is_gone_takes_its_points_with_it() -> None:
    series = Series()
    series.add(dict.fromkeys(("chat", "code"), POINT))
    series.add({"code": replace(POINT, time=5)})
    series.add(dict.fromkeys(("chat", "code"), replace(POINT, time=10)))
    assert {name: [p.time for p in points] for name, points in series.since(-1).items()} == {
        "chat": [10],
        "code": [0, 5, 10],
    }
