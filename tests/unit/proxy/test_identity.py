"""Who asks, and the ids of requests."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy.errors import Unauthorized
from gateway.proxy.headers import RequestHeaders
from gateway.proxy.identity import ClientKeys, RequestIds


def digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()


KEYS = ClientKeys([digest("first"), digest("sécond")])


def headers(**values: str) -> RequestHeaders:
    return RequestHeaders((name.replace("_", "-").encode(), value.encode()) for name, value in values.items())


@pytest.mark.parametrize(
    "presented",
    [
        {"Authorization": "Bearer first"},
        {"authorization": "bearer  first "},
        {"AUTHORIZATION": "BEARER sécond"},
        {"X_Api_Key": "first"},
        {"authorization": "Basic x", "x_api_key": "first"},
    ],
)
def test_a_known_key_opens_in_openai_s_and_in_anthropic_s_place(presented: dict[str, str]) -> None:
    KEYS.check(headers(**presented))


@pytest.mark.parametrize(
    "authorization",
    [
        *("", "Bearer", "Bearer ", "Bearer second", "first", "Basic first", "Bearer first x", "Bearer First"),
        *(f"Bearer {digest('first')}", "Bearer \xff"),
    ],
)
def test_any_other_authorization_does_not(authorization: str) -> None:
    with pytest.raises(Unauthorized) as refusal:
        KEYS.check(headers(authorization=authorization))
    assert "first" not in refusal.value.message


@pytest.mark.parametrize(
    "presented",
    [{}, {"x_api_key": "First"}, {"x_api_key": ""}, {"authorization": "Bearer wrong", "x_api_key": "first"}],
)
def test_no_key_or_a_wrong_one_beside_a_right_one_does_not_either(presented: dict[str, str]) -> None:
    with pytest.raises(Unauthorized):
        KEYS.check(headers(**presented))


def test_without_keys_everybody_is_let_in() -> None:
    ClientKeys([]).check(headers())


def test_the_keys_themselves_are_kept_nowhere() -> None:
    assert "first" not in repr([getattr(KEYS, name) for name in ClientKeys.__slots__])


@pytest.mark.parametrize("offered", ["a", "req_1/2:3", "x" * 128, "~!"])
def test_a_fit_id_is_kept(offered: str) -> None:
    assert RequestIds().take(offered.encode()) == offered


@given(
    st.none()
    | st.text().filter(lambda s: not (s.isascii() and s.isprintable() and 0 < len(s) <= 128 and " " not in s))
)
def test_an_unfit_id_is_replaced_by_one_that_fits_a_header(offered: str | None) -> None:
    made = RequestIds().take(None if offered is None else offered.encode("utf-8", "surrogatepass"))
    assert made.isascii()
    assert made.isalnum()
    assert len(made) == 32


def test_ids_do_not_repeat_within_a_worker_or_across_two() -> None:
    one, other = RequestIds(), RequestIds()
    assert len({ids.take(None) for ids in (one, other) for _ in range(100)}) == 200
