"""Pooling models, Anthropic's form, the newer OpenAI form, audio: the rest of vLLM's inference routes."""

import base64
import struct
from collections.abc import AsyncIterator

import pytest

from gateway.sim import EngineLimits, SimOptions, SimulatedReplica, expected_text
from tests.integration.sim_client import Client, Reply, ask, encode, until

FAST = EngineLimits(step_s=0, prefill_tokens_per_s=0)
CHAT = [{"role": "user", "content": "hi"}]


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with SimulatedReplica(SimOptions("demo", engine=FAST)) as replica:
        yield replica.port


@pytest.fixture
async def pooling() -> AsyncIterator[SimulatedReplica]:
    async with SimulatedReplica(SimOptions("bert", pooling=True, engine=FAST)) as replica:
        yield replica


def kinds(reply: Reply) -> list[str]:
    return [chunk.split(b"\n", 1)[0].removeprefix(b"event: ").decode() for chunk in reply.chunks]


async def test_embeddings_are_the_same_for_the_same_text_and_unit_length(pooling: SimulatedReplica) -> None:
    reply = await ask(pooling.port, "POST", "/v1/embeddings", {"model": "bert", "input": ["a b", "c", "a b"]})
    assert list(reply.json) == ["id", "object", "created", "model", "data", "usage"]
    vectors = [entry["embedding"] for entry in reply.json["data"]]
    assert vectors[0] == vectors[2] != vectors[1]
    assert sum(value * value for value in vectors[0]) == pytest.approx(1)
    assert reply.json["usage"]["prompt_tokens"] == 7


async def test_embeddings_come_in_base64_too(pooling: SimulatedReplica) -> None:
    numbers = await ask(pooling.port, "POST", "/v1/embeddings", {"input": "a"})
    encoded = await ask(pooling.port, "POST", "/v1/embeddings", {"input": "a", "encoding_format": "base64"})
    raw = base64.b64decode(encoded.json["data"][0]["embedding"])
    values = struct.unpack(f"<{len(raw) // 4}f", raw)
    assert values == pytest.approx(numbers.json["data"][0]["embedding"], rel=1e-6)


async def test_rerank_puts_the_equal_document_first(pooling: SimulatedReplica) -> None:
    body = {"query": "river", "documents": ["lantern", "river", "bridge"], "top_n": 2}
    for path in ("/rerank", "/v1/rerank", "/v2/rerank"):
        results = (await ask(pooling.port, "POST", path, body)).json["results"]
        assert [results[0]["index"], len(results)] == [1, 2]
        assert results[0]["relevance_score"] == pytest.approx(1)


async def test_score_classify_and_pooling_answer(pooling: SimulatedReplica) -> None:
    body = {"text_1": "a", "text_2": ["a", "b"]}
    score = await ask(pooling.port, "POST", "/score", body)
    assert score.json["data"][0]["score"] == pytest.approx(1)
    classes = (await ask(pooling.port, "POST", "/classify", {"input": "a"})).json["data"][0]
    assert sum(classes["probs"]) == pytest.approx(1)
    pooled = (await ask(pooling.port, "POST", "/pooling", {"input": "a"})).json["data"]
    assert (pooled[0]["object"], len(pooled[0]["data"])) == ("pooling", 16)


async def test_a_pooling_model_does_not_generate(pooling: SimulatedReplica) -> None:
    for path in ("/v1/completions", "/v1/chat/completions", "/v1/messages", "/v1/responses"):
        reply = await ask(pooling.port, "POST", path, {})
        assert (reply.status, reply.body) == (404, b'{"detail":"Not Found"}')
    unknown = await ask(pooling.port, "POST", "/v1/embeddings", {"model": "nope", "input": "a"})
    assert unknown.json["error"] == {
        "message": "The model `nope` does not exist.",
        "type": "NotFoundError",
        "param": None,
        "code": 404,
    }


async def test_pooling_requests_queue_in_the_engine_and_break_like_others() -> None:
    limits = EngineLimits(step_s=0, prefill_tokens_per_s=1)
    async with SimulatedReplica(SimOptions("bert", pooling=True, engine=limits)) as replica:
        async with await Client.open(replica.port) as client:
            client.send(encode("POST", "/v1/embeddings", {"input": "a long text"}))
            await until(lambda: replica.state.clock.published.running == 1)
        await until(lambda: replica.state.aborted == 1)
        assert replica.state.clock.published.running == 0


@pytest.mark.parametrize(
    ("fault", "end"), [("reset_after_tokens", "reset"), ("close_mid_chunk_after_tokens", "eof")]
)
async def test_pooling_answers_can_be_broken(pooling: SimulatedReplica, fault: str, end: str) -> None:
    pooling.set_faults(**{fault: 0})
    assert (await ask(pooling.port, "POST", "/v1/embeddings", {"input": "a"})).end == end
    pooling.clear_faults()
    pooling.set_faults(error_event_after_tokens=0)
    assert (await ask(pooling.port, "POST", "/v1/embeddings", {"input": "a"})).status == 500


async def test_messages_streams_anthropic_s_events(port: int) -> None:
    body = {"model": "demo", "max_tokens": 3, "messages": CHAT, "system": "Be brief.", "stream": True}
    reply = await ask(port, "POST", "/v1/messages", body)
    assert kinds(reply) == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * 3,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    messages = [{"role": "system", "content": "Be brief."}, *CHAT]
    text = "".join(event["delta"]["text"] for event in reply.events[2:5])
    assert text == expected_text("demo", None, messages, 3)
    assert reply.events[-2] == {
        "type": "message_delta",
        "delta": {"stop_reason": "max_tokens", "stop_sequence": None},
        "usage": {"input_tokens": reply.events[0]["message"]["usage"]["input_tokens"], "output_tokens": 3},
    }
    plain = (await ask(port, "POST", "/v1/messages", {**body, "stream": False})).json
    assert plain["content"] == [{"type": "text", "text": text}]
    assert "stop_sequence" not in plain, "null keys are left out"


async def test_messages_stops_at_a_stop_sequence_and_needs_max_tokens(port: int) -> None:
    stop = expected_text("demo", None, CHAT, 3).split(" ")[2]
    body = {"model": "demo", "max_tokens": 9, "messages": CHAT, "stop_sequences": [stop]}
    reply = (await ask(port, "POST", "/v1/messages", body)).json
    assert (reply["stop_reason"], reply["stop_sequence"]) == ("stop_sequence", stop)
    del body["max_tokens"]
    refused = await ask(port, "POST", "/v1/messages", body)
    assert (refused.status, refused.json["type"]) == (400, "error")


async def test_count_tokens_counts_the_prompt(port: int) -> None:
    reply = await ask(port, "POST", "/v1/messages/count_tokens", {"model": "demo", "messages": CHAT})
    assert reply.json == {"input_tokens": 5}


async def test_responses_streams_typed_and_numbered_events(port: int) -> None:
    body = {"model": "demo", "input": "hi", "max_output_tokens": 3, "stream": True}
    reply = await ask(port, "POST", "/v1/responses", body)
    assert kinds(reply)[:2] == ["response.created", "response.in_progress"]
    assert kinds(reply)[-1] == "response.completed"
    assert [event["sequence_number"] for event in reply.events] == list(range(len(reply.events)))
    text = "".join(e["delta"] for e in reply.events if e["type"] == "response.output_text.delta")
    assert text == expected_text("demo", None, CHAT, 3)
    last = reply.events[-1]["response"]
    assert (last["status"], last["usage"]["output_tokens"]) == ("incomplete", 3)
    plain = (await ask(port, "POST", "/v1/responses", {**body, "stream": False})).json
    assert plain["output"][0]["content"][0]["text"] == text


async def test_streams_of_other_forms_break_in_their_own_words() -> None:
    async with SimulatedReplica(SimOptions("demo", engine=FAST)) as replica:
        replica.set_faults(error_event_after_tokens=2)
        body = {"max_tokens": 5, "messages": CHAT, "input": "hi", "stream": True}
        for path, kind in (("/v1/messages", "error"), ("/v1/responses", "error")):
            reply = await ask(replica.port, "POST", path, body)
            assert kinds(reply)[-1] == kind


def multipart(*, model: str, file: bytes) -> tuple[bytes, str]:
    body = (
        b'--edge\r\nContent-Disposition: form-data; name="model"\r\n\r\n' + model.encode() + b"\r\n"
        b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a b.wav"\r\n'
        b"Content-Type: audio/wav\r\n\r\n" + file + b"\r\n--edge--\r\n"
    )
    return body, "multipart/form-data; boundary=edge"


async def test_a_transcription_tells_the_file_that_arrived(port: int) -> None:
    body, content_type = multipart(model="demo", file=b"\r\n--ed\x00" * 1000)
    reply = await ask(port, "POST", "/v1/audio/transcriptions", body, content_type=content_type)
    assert reply.json == {"text": "a b.wav: 7000 bytes", "usage": {"type": "duration", "seconds": 1}}
    body, content_type = multipart(model="nope", file=b"x")
    reply = await ask(port, "POST", "/v1/audio/transcriptions", body, content_type=content_type)
    assert reply.status == 404
    assert (await ask(port, "POST", "/v1/audio/transcriptions", {})).status == 400
