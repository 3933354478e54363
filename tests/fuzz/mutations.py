"""Valid input, damaged: most of it still passes the first checks, and so gets to the later ones."""

from collections.abc import Sequence

from hypothesis import strategies as st

_DAMAGE = ("cut", "double", "insert", "swap", "flip")


@st.composite
def damaged(draw: st.DrawFn, whole: bytes, tokens: Sequence[bytes]) -> bytes:
    """The same bytes with a few accidents; `tokens` are what may be put in anywhere."""
    data = whole
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 30)))
        match draw(st.sampled_from(_DAMAGE)):
            case "cut":
                data = data[:start] + data[end:]
            case "double":
                data = data[:end] + data[start:]
            case "insert":
                data = data[:start] + draw(st.sampled_from(tokens) | st.binary(max_size=6)) + data[start:]
            case "swap":
                data = data[:start] + data[end : end + 5] + data[start:end] + data[end + 5 :]
            case _:
                data = data[:start] + bytes(byte ^ 1 for byte in data[start:end]) + data[end:]
    return data


@st.composite
def in_reads(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """The bytes as they may come off a socket: cut anywhere."""
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True) if a < b]
