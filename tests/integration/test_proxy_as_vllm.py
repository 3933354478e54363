"""Ways of vLLM that were seen on real servers and that a proxy must know."""

import asyncio

import pytest

from gateway.fleet.snapshot import ResumeMode
from gateway.telemetry import families
from tests.integration.harness import Front, Plan
from tests.integration.sim_client import ask
from tests.integration.stand_ins import Scripted, chat, completion, sim

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


@pytest.mark.parametrize(
    ("path", "body"), [(CHAT, chat(max_tokens=20)), (COMPLETIONS, completion(max_tokens=20))]
)
async def test_a_plain_answer_that_the_replica_aborted_runs_again_elsewhere(
    path: str, body: dict[str, object]
) -> None:
    """`/sleep` and `/abort_requests` end it with 200, `finish_reason` "abort" and the text so far."""
    async with sim() as bad, sim() as good:
        plan = Plan("chat", [bad.url, good.url], weights={bad.url: 1000})
        async with Front(plan) as front:
            bad.set_faults(abort_after_tokens=5)
            reply = await ask(front.port, "POST", path, body)
            assert (reply.status, reply.json["choices"][0]["finish_reason"]) == (200, "length")
            assert [len(bad.requests), len(good.requests)] == [1, 1]
            assert front.count(families.RETRIES, "engine_error") == 1


async def test_a_plain_answer_that_was_aborted_everywhere_is_an_error_and_not_half_an_answer() -> None:
    async with sim() as replica, Front(Plan("chat", [replica.url])) as front:
        replica.set_faults(abort_after_tokens=5)
        reply = await ask(front.port, "POST", CHAT, chat(max_tokens=20))
        assert reply.status == 502
        assert "aborted" in reply.json["error"]["message"]


async def test_no_ids_are_asked_for_where_the_prompt_is_to_be_echoed() -> None:
    """With `return_token_ids`, vLLM 0.32 leaves the echoed text out (openai/completion/serving.py)."""
    asked = []

    async def script(replica: Scripted, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await replica.request(reader))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    async with (
        Scripted(script) as replica,
        Front(Plan("chat", [replica.url], resume=ResumeMode.EXACT)) as front,
    ):
        for echo in (True, False):
            await ask(front.port, "POST", COMPLETIONS, completion(stream=True, echo=echo))
    assert [b"return_token_ids" in request for request in asked] == [False, True]
