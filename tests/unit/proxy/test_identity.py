"""Who asks, and the ids of requests."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy.errors import Unauthorized
from gateway.proxy.identity import ClientKeys, RequestIds


def digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()


KEYS = ClientKeys([digest("first"), digest("sécond")])


@pytest.mark.parametrize(
    ("authorization", "x_api_key"),
    [
        ("Bearer first", None),
        ("bearer  first ", None),
        ("BEARER sécond", None),
        (None, "first"),
        ("Basic x", "first"),
    ],
)
def test_a_known_key_opens_in_openai_s_and_in_anthropic_s_place(
    authorization: str | None, x_api_key: str
) -> None:
    KEYS.check(authorization, x_api_key)


@pytest.mark.parametrize(
    ("authorization", "x_api_key"),
    [
        *(
            (None, None),
            ("", ""),
            ("Bearer", None),
            ("Bearer ", None),
            ("Bearer second", None),
            ("first", None),
        ),
        *(("Basic first", None), (None, "First"), ("Bearer first x", None), ("Bearer wrong", "first")),
        *((f"Bearer {digest('first')}", None), (None, digest("first")), ("Bearer \udcff", None)),
    ],
)
def test_anything_else_does_not(authorization: str | None, x_api_key: str | None) -> None:
    with pytest.raises(Unauthorized) as refusal:
        KEYS.check(authorization, x_api_key)
    assert "first" not in refusal.value.message


def test_without_keys_everybody_is_let_in() -> None:
    ClientKeys([]).check(None, None)


def test_the_keys_themselves_are_kept_nowhere() -> None:
    assert "first" not in repr([getattr(KEYS, name) for name in ClientKeys.__slots__])


@pytest.mark.parametrize("offered", ["a", "req_1/2:3", "x" * 128, "~!"])
def test_a_fit_id_is_kept(offered: str) -> None:
    assert RequestIds().take(offered) == offered


@given(
    st.none()
    | st.text().filter(lambda s: not (s.isascii() and s.isprintable() and 0 < len(s) <= 128 and " " not in s))
)
def test_an_unfit_id_is_replaced_by_one_that_fits_a_header(offered: str | None) -> None:
    made = RequestIds().take(offered)
    assert made.isascii()
    assert made.isalnum()
    assert len(made) == 32


def test_ids_do_not_repeat_within_a_worker_or_across_two() -> None:
    one, other = RequestIds(), RequestIds()
    assert len({ids.take(None) for ids in (one, other) for _ in range(100)}) == 200
