"""Stop strings against a straightforward search in the whole text."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.sim.stops import StopWatch

pieces = st.lists(st.text("ab", max_size=4), max_size=12)
stop_strings = st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3).map(tuple)


def run(stops: tuple[str, ...], texts: list[str], *, include: bool = False) -> tuple[str, str | None]:
    watch = StopWatch(stops, include=include)
    sent = ""
    for number, text in enumerate(texts):
        out, stop = watch.feed(text, ended=number == len(texts) - 1)
        sent += out
        if stop is not None:
            return sent, stop
    return sent, None


@given(stops=stop_strings, texts=pieces, include=st.booleans())
def test_text_ends_before_the_first_stop_string_that_completes(
    *, stops: tuple[str, ...], texts: list[str], include: bool
) -> None:
    sent, stop = run(stops, texts, include=include)
    whole = ""
    for text in texts:
        whole += text
        if any(candidate in whole for candidate in stops):
            break
    else:
        assert (sent, stop) == (whole, None)
        return
    assert stop in stops
    assert sent == whole[: whole.index(stop) + (len(stop) if include else 0)]


@given(stop_string=st.text("ab", min_size=1, max_size=4), texts=pieces)
def test_a_stop_string_never_leaves_even_when_it_comes_in_pieces(stop_string: str, texts: list[str]) -> None:
    watch = StopWatch((stop_string,), include=False)
    sent = ""
    for text in texts:
        out, stop = watch.feed(text, ended=False)
        sent += out
        assert stop_string not in sent
        if stop is not None:
            return


def test_text_is_held_back_by_the_longest_stop_string_less_one_character() -> None:
    watch = StopWatch(("xyz",), include=False)
    assert watch.feed("abcde", ended=False) == ("abc", None)
    assert watch.feed("x", ended=False) == ("d", None)
    assert watch.feed("y", ended=False) == ("e", None)
    assert watch.feed("!", ended=False) == ("x", None)


def test_nothing_is_held_back_at_the_end() -> None:
    watch = StopWatch(("xyz",), include=False)
    assert watch.feed("abx", ended=True) == ("abx", None)
