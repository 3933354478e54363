"""Numbers as people read them."""

import pytest

from gateway.terminal.wording import ago, duration, plural


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-0.1, "0.0 ms"),
        (0.0042, "4.2 ms"),
        (0.85, "850 ms"),
        (3.14, "3.1 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (7200, "2 h"),
        (86_400 * 400, "400 d"),
    ],
)
def test_a_duration_has_about_two_digits(seconds: float, said: str) -> None:
    assert duration(seconds) == said
    assert ago(seconds) == f"{said} ago"


def test_one_is_singular() -> None:
    assert [plural(n, "replica") for n in (0, 1, 2)] == ["0 replicas", "1 replica", "2 replicas"]
