"""What is written in one turn of the loop leaves together, in order, at its end."""

import asyncio

from gateway.proxy.outbox import Outbox


class Line(asyncio.Transport):
    """What was written, and whether it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self._closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True


async def test_writes_of_one_turn_leave_in_order_at_its_end() -> None:
    outbox, one, other = Outbox(), Line(), Line()
    to_one, to_other = outbox.writer(one), outbox.writer(other)
    to_one(b"a")
    to_other(b"b")
    to_one(b"c")
    assert (one.written, other.written) == (b"", b"")
    await asyncio.sleep(0)
    assert (one.written, other.written) == (b"ac", b"b")
    to_one(b"d")
    assert one.written == b"ac"
    await asyncio.sleep(0)
    assert one.written == b"acd"


async def test_after_a_write_that_was_alone_the_next_few_leave_at_once_and_then_one_waits_again() -> None:
    outbox, transport = Outbox(), Line()
    write = outbox.writer(transport)
    write(b"0")
    await asyncio.sleep(0)
    at_once = 0
    while len(transport.written) == at_once + 1:
        at_once += 1
        write(b".")
    assert at_once > 1
    write(b"1")
    await asyncio.sleep(0)
    assert transport.written.endswith(b"..1")
    write(b"2")
    assert not transport.written.endswith(b"2")  # two had waited together


async def test_what_waits_can_be_written_at_once_and_is_not_written_again() -> None:
    outbox, transport = Outbox(), Line()
    outbox.writer(transport)(b"a")
    outbox.flush()
    assert transport.written == b"a"
    await asyncio.sleep(0)
    assert transport.written == b"a"


async def test_a_transport_that_closed_meanwhile_holds_nobody_up() -> None:
    outbox, gone, there = Outbox(), Line(), Line()
    outbox.writer(gone)(b"a")
    outbox.writer(there)(b"b")
    gone.close()
    await asyncio.sleep(0)
    assert (gone.written, there.written) == (b"", b"b")


async def test_a_long_piece_leaves_at_once_behind_what_waited() -> None:
    outbox, transport = Outbox(), Line()
    write = outbox.writer(transport)
    write(b"a")
    write(b"b")
    write(b"c" * 100_000)
    assert transport.written == b"ab" + b"c" * 100_000
    await asyncio.sleep(0)
    assert transport.written == b"ab" + b"c" * 100_000
