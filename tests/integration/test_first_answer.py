"""The demo's streamed chat, asked of a simulated replica itself."""

import pytest

from gateway.sim import EngineLimits, SimOptions, SimulatedReplica, expected_text
from gateway.terminal.failures import Failure
from gateway.terminal.first_answer import stream_chat

FAST = SimOptions(model="chat", engine=EngineLimits(step_s=0, prefill_tokens_per_s=0))


async def test_each_piece_is_shown_and_the_answer_is_counted() -> None:
    shown: list[str] = []
    async with SimulatedReplica(FAST) as replica:
        answer = await stream_chat(f"{replica.url}/v1", "chat", "Why?", 12, shown.append)
    question = [{"role": "user", "content": "Why?"}]
    assert "".join(shown) == expected_text("chat", None, question, 12)
    assert answer.pieces == len(shown)
    assert 0 < answer.first_after_s <= answer.took_s


async def test_a_refusal_is_told_with_the_servers_own_words() -> None:
    async with SimulatedReplica(FAST) as replica:
        with pytest.raises(Failure, match=r"^The first answer failed: HTTP 404 .*The model `nope` does not"):
            await stream_chat(f"{replica.url}/v1", "nope", "Why?", 1, print)


async def test_a_stream_that_breaks_is_told() -> None:
    async with SimulatedReplica(FAST) as replica:
        replica.set_faults(reset_after_tokens=3)
        with pytest.raises(Failure, match=r"^The first answer broke off: .+\.$"):
            await stream_chat(f"{replica.url}/v1", "chat", "Why?", 12, lambda _: None)


async def test_nobody_there_is_told() -> None:
    with pytest.raises(Failure, match=r"^The first answer broke off: Cannot connect"):
        await stream_chat("http://127.0.0.1:1/v1", "chat", "Why?", 1, print)
