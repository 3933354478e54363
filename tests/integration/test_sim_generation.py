"""What the simulated replica generates: names, lengths, stops, choices, and how it goes on after a cut."""

from collections.abc import AsyncIterator

import pytest

from gateway.sim import EngineLimits, SimOptions, SimulatedReplica, encode, expected_text
from tests.integration.sim_client import ask

FAST = EngineLimits(step_s=0, prefill_tokens_per_s=0)
CHAT = [{"role": "user", "content": "hi"}]


@pytest.fixture
async def port() -> AsyncIterator[int]:
    options = SimOptions(
        "tiny", served_names=("tiny", "tiny-2"), adapters=(("lora-a", "loras/lora-a"),), max_model_len=2048,
        engine=FAST,
    )  # fmt: skip
    async with SimulatedReplica(options) as replica:
        yield replica.port


async def test_without_a_model_the_base_model_answers(port: int) -> None:
    for body in ({"prompt": "x"}, {"prompt": "x", "model": ""}):
        assert (await ask(port, "POST", "/v1/completions", body)).json["model"] == "tiny"


async def test_every_served_name_and_adapter_is_answered_under_its_own_name(port: int) -> None:
    texts = {}
    for name in ("tiny", "tiny-2", "lora-a"):
        reply = await ask(port, "POST", "/v1/completions", {"prompt": "x", "model": name})
        assert reply.json["model"] == name
        texts[name] = reply.text
    assert texts["tiny"] == texts["tiny-2"] == expected_text("tiny", None, "x", 16)
    assert texts["lora-a"] == expected_text("tiny", "lora-a", "x", 16)


async def test_a_chat_without_max_tokens_stops_by_itself(port: int) -> None:
    reply = await ask(port, "POST", "/v1/chat/completions", {"messages": CHAT})
    assert reply.text == expected_text("tiny", None, CHAT, 32)
    assert reply.json["choices"][0]["finish_reason"] == "stop"
    assert reply.json["usage"]["completion_tokens"] == 33, "the end token counts"


async def test_stop_strings_end_the_text_before_them(port: int) -> None:
    words = expected_text("tiny", None, "x", 6).split(" ")
    body = {"prompt": "x", "stop": [words[5]], "stream": True, "return_token_ids": True, "max_tokens": 9}
    reply = await ask(port, "POST", "/v1/completions", body)
    assert reply.text == " ".join(words[:5]) + " "
    assert reply.finish_reason == "stop"
    assert reply.events[-2]["choices"][0]["stop_reason"] == words[5]
    assert len(reply.token_ids) == 5, "the ids do not lag"


async def test_several_prompts_and_several_choices_each_have_their_index(port: int) -> None:
    body = {"prompt": ["a", "b"], "n": 2, "max_tokens": 2, "temperature": 1}
    reply = await ask(port, "POST", "/v1/completions", body)
    assert [choice["index"] for choice in reply.json["choices"]] == [0, 1, 2, 3]
    assert reply.json["usage"] | {} == {
        "prompt_tokens": 2, "total_tokens": 10, "completion_tokens": 8, "prompt_tokens_details": None,
        "completion_tokens_details": None,
    }  # fmt: skip
    reply = await ask(
        port, "POST", "/v1/chat/completions", {"messages": CHAT, "n": 2, "max_tokens": 1, "stream": True}
    )
    roles = [event["choices"][0]["index"] for event in reply.events[:2]]
    assert roles == [0, 1]


async def test_stream_interval_merges_tokens_into_one_event(port: int) -> None:
    body = {"prompt": "x", "max_tokens": 7, "stream": True, "return_token_ids": True, "stream_interval": 3}
    reply = await ask(port, "POST", "/v1/completions", body)
    sizes = [len(event["choices"][0]["token_ids"]) for event in reply.events[:-1]]
    assert sizes == [1, 3, 3]
    assert reply.text == expected_text("tiny", None, "x", 7)


async def test_echo_repeats_the_prompt(port: int) -> None:
    for stream in (False, True):
        body = {"prompt": "hi", "max_tokens": 2, "echo": True, "stream": stream}
        reply = await ask(port, "POST", "/v1/completions", body)
        assert reply.text == "hi" + expected_text("tiny", None, "hi", 2)


async def test_logprobs_have_both_shapes(port: int) -> None:
    body = {"prompt": "hi", "max_tokens": 2, "logprobs": 2, "stream": True}
    events = (await ask(port, "POST", "/v1/completions", body)).events
    offsets = [event["choices"][0]["logprobs"]["text_offset"] for event in events[:-1]]
    assert offsets == [[0], [len(expected_text("tiny", None, "hi", 1))]]
    chat = {"messages": CHAT, "max_tokens": 1, "logprobs": True, "top_logprobs": 2}
    logprobs = (await ask(port, "POST", "/v1/chat/completions", chat)).json["choices"][0]["logprobs"]
    assert [len(entry["top_logprobs"]) for entry in logprobs["content"]] == [2]


async def test_a_chat_goes_on_from_token_ids_as_if_it_had_never_been_cut(port: int) -> None:
    body = {"messages": CHAT, "stream": True, "max_tokens": 20, "return_token_ids": True, "temperature": 0}
    whole = await ask(port, "POST", "/v1/chat/completions", body)
    prompt, said = whole.events[0]["prompt_token_ids"], whole.token_ids[:8]
    rest = await ask(
        port,
        "POST",
        "/v1/chat/completions",
        {**body, "max_tokens": 12, "kv_transfer_params": {"prompt_token_ids": [*prompt, *said]}},
    )
    assert rest.events[0]["prompt_token_ids"] == [*prompt, *said]
    assert rest.token_ids == whole.token_ids[8:]
    assert whole.text.endswith(rest.text)


async def test_a_chat_without_a_limit_goes_on_to_the_same_end(port: int) -> None:
    body = {"messages": CHAT, "stream": True, "return_token_ids": True}
    whole = await ask(port, "POST", "/v1/chat/completions", body)
    ids = [*whole.events[0]["prompt_token_ids"], *whole.token_ids[:10]]
    rest = await ask(
        port, "POST", "/v1/chat/completions", {**body, "kv_transfer_params": {"prompt_token_ids": ids}}
    )
    assert rest.token_ids == whole.token_ids[10:]
    assert rest.finish_reason == "stop"


async def test_continue_final_message_goes_on_in_the_last_message(port: int) -> None:
    said = expected_text("tiny", None, CHAT, 5)
    messages = [*CHAT, {"role": "assistant", "content": said}]
    body = {
        "messages": messages,
        "max_tokens": 5,
        "add_generation_prompt": False,
        "continue_final_message": True,
    }
    reply = await ask(port, "POST", "/v1/chat/completions", body)
    assert said + reply.text == expected_text("tiny", None, CHAT, 10)
    body["add_generation_prompt"] = True
    assert (await ask(port, "POST", "/v1/chat/completions", body)).status == 400


async def test_a_chat_can_echo_the_message_it_goes_on_in(port: int) -> None:
    messages = [*CHAT, {"role": "assistant", "content": "The"}]
    body = {"messages": messages, "max_tokens": 2, "add_generation_prompt": False, "echo": True}
    for stream in (False, True):
        asked = {**body, "continue_final_message": True, "stream": stream}
        text = (await ask(port, "POST", "/v1/chat/completions", asked)).text
        assert text.startswith("The ")


async def test_min_tokens_puts_the_end_off(port: int) -> None:
    reply = await ask(port, "POST", "/v1/chat/completions", {"messages": CHAT, "min_tokens": 40})
    assert reply.text == expected_text("tiny", None, CHAT, 40)


async def test_token_ids_are_ignored_where_messages_have_more_than_text(port: int) -> None:
    parts = [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    body = {"messages": [{"role": "user", "content": parts}], "max_tokens": 3}
    body["kv_transfer_params"] = {"prompt_token_ids": [1, 2, 3]}
    assert (await ask(port, "POST", "/v1/chat/completions", body)).text == expected_text(
        "tiny", None, CHAT, 3
    )


async def test_tokenize_and_detokenize_are_each_other_s_inverse(port: int) -> None:
    reply = await ask(port, "POST", "/tokenize", {"prompt": "hi the", "return_token_strs": True})
    assert reply.json == {
        "count": 3,
        "max_model_len": 2048,
        "tokens": encode("hi the"),
        "token_strs": ["h", "i", " the"],
    }
    back = await ask(port, "POST", "/detokenize", {"tokens": reply.json["tokens"]})
    assert back.json == {"prompt": "hi the"}
    chat = await ask(port, "POST", "/tokenize", {"messages": CHAT})
    assert chat.json["count"] == 5
