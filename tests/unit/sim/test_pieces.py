"""The writer of small pieces, with a loop whose turns are counted by hand."""

from typing import Any

from gateway.sim.pieces import PieceWriter


class Loop:
    """Keeps what was scheduled until a turn is taken."""

    def __init__(self) -> None:
        self.waiting: list[Any] = []
        self.delays: list[float] = []

    def call_soon(self, callback: Any) -> None:
        self.waiting.append(callback)

    def call_later(self, delay: float, callback: Any) -> None:
        self.delays.append(delay)
        self.waiting.append(callback)

    def turn(self) -> None:
        waiting, self.waiting = self.waiting, []
        for callback in waiting:
            callback()


class Transport:
    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


def writer(size: int, delay_s: float = 0.0) -> tuple[PieceWriter, Any, Any]:
    loop: Any = Loop()
    transport: Any = Transport()
    return PieceWriter(transport, loop, size, delay_s), transport, loop


def test_each_piece_leaves_in_a_turn_of_its_own() -> None:
    pieces, transport, loop = writer(3)
    pieces.write(b"abcdefgh")
    assert transport.sent == [b"abc"]
    loop.turn()
    assert transport.sent == [b"abc", b"def"]
    pieces.write(b"ij")
    loop.turn()
    loop.turn()
    assert transport.sent == [b"abc", b"def", b"gh", b"ij"], "in order"
    assert pieces.is_busy
    loop.turn()
    assert not pieces.is_busy


def test_pieces_are_spaced_where_a_pause_is_asked_for() -> None:
    pieces, transport, loop = writer(1, 0.25)
    pieces.write(b"ab")
    loop.turn()
    assert (transport.sent, loop.delays) == ([b"a", b"b"], [0.25, 0.25])


def test_closing_waits_for_the_last_piece() -> None:
    pieces, transport, loop = writer(1)
    pieces.write(b"ab")
    pieces.close()
    assert not transport.closed
    loop.turn()
    loop.turn()
    assert (transport.sent, transport.closed) == ([b"a", b"b"], True)


def test_closing_when_nothing_waits_is_immediate() -> None:
    pieces, transport, _ = writer(1)
    pieces.close()
    assert transport.closed


def test_a_connection_that_is_gone_swallows_the_rest() -> None:
    pieces, transport, loop = writer(1)
    pieces.write(b"abc")
    transport.closed = True
    loop.turn()
    assert transport.sent == [b"a"]
    assert not pieces.is_busy
