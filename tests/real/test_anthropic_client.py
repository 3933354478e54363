"""What users do with the official anthropic client, through the gateway, on real vLLM."""

from collections.abc import Iterator

import anthropic
import pytest
from anthropic.types import MessageParam

from tests.real.fleet import BASE, RARE_ADAPTER, SHARED_ADAPTER
from tests.real.front import Gateway

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

MESSAGES: list[MessageParam] = [{"role": "user", "content": "hello, how are you today?"}]
TOKENS = 12
GREEDY = {"temperature": 0}


@pytest.fixture
def client(gateway: Gateway) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=gateway.url, api_key="any", max_retries=0, timeout=60) as client:
        yield client


def text_of(client: anthropic.Anthropic, model: str) -> str:
    message = client.messages.create(model=model, messages=MESSAGES, max_tokens=TOKENS, extra_body=GREEDY)
    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens == TOKENS
    return "".join(block.text for block in message.content if block.type == "text")


def test_a_message_is_answered_by_the_model_it_names(client: anthropic.Anthropic) -> None:
    answers = {name: text_of(client, name) for name in (BASE, SHARED_ADAPTER, RARE_ADAPTER)}
    assert len(set(answers.values())) == 3


def test_a_streamed_message_adds_up_to_the_unstreamed_one(client: anthropic.Anthropic) -> None:
    with client.messages.stream(
        model=BASE, messages=MESSAGES, max_tokens=TOKENS, extra_body=GREEDY
    ) as stream:
        text = "".join(stream.text_stream)
        assert stream.get_final_message().usage.output_tokens == TOKENS
    assert text == text_of(client, BASE)


def test_tokens_are_counted_without_an_answer(client: anthropic.Anthropic) -> None:
    assert client.messages.count_tokens(model=BASE, messages=MESSAGES).input_tokens > len(MESSAGES)


def test_an_unknown_model_is_not_found(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="The model `nope` does not exist"):
        text_of(client, "nope")
