"""What users do with the official openai client, through the gateway, on real vLLM."""

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.real.fleet import ALIAS, BASE, EMBEDDING, RARE_ADAPTER, SHARED_ADAPTER, Fleet
from tests.real.guarded import wait_until
from tests.real.servers import MODELS

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello, how are you today?"}]
PROMPT = "The replica with the fewest"
TOKENS = 12


def chat(client: openai.OpenAI, model: str) -> str:
    answer = client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=TOKENS, temperature=0)
    assert answer.usage is not None
    assert answer.usage.completion_tokens == TOKENS
    text = answer.choices[0].message.content
    assert text
    return text


def test_the_model_list_names_every_model_of_every_replica_once(client: openai.OpenAI) -> None:
    models = {model.id: model.model_dump() for model in client.models.list()}
    assert {BASE, SHARED_ADAPTER, RARE_ADAPTER, EMBEDDING} <= set(models)
    assert len(models) == len(list(client.models.list()))
    assert models[SHARED_ADAPTER]["parent"] == models[RARE_ADAPTER]["parent"] == BASE
    assert models[RARE_ADAPTER]["root"] == str(MODELS / "lora-b")
    assert models[BASE]["max_model_len"] == 2048
    assert models[EMBEDDING]["max_model_len"] == 512


def test_one_model_can_be_looked_up_by_name(client: openai.OpenAI) -> None:
    assert client.models.retrieve(BASE).id == BASE
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nope")


def test_chat_answers_as_the_replica_itself_does(client: openai.OpenAI, direct: openai.OpenAI) -> None:
    assert chat(client, BASE) == chat(direct, BASE)


def test_an_alias_answers_as_the_model_it_stands_for(client: openai.OpenAI, direct: openai.OpenAI) -> None:
    assert chat(client, ALIAS) == chat(direct, BASE)


def test_streamed_chat_adds_up_to_the_unstreamed_answer_and_ends_with_its_usage(
    client: openai.OpenAI,
) -> None:
    stream = client.chat.completions.create(
        model=BASE,
        messages=MESSAGES,
        max_tokens=TOKENS,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    *chunks, last = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == chat(client, BASE)
    assert [chunk.choices[0].delta.role for chunk in chunks if chunk.choices[0].delta.role] == ["assistant"]
    assert chunks[-1].choices[0].finish_reason == "length"
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == TOKENS


def test_completions_carry_token_ids_when_asked_for(client: openai.OpenAI, direct: openai.OpenAI) -> None:
    def complete(through: openai.OpenAI) -> dict[str, object]:
        answer = through.completions.create(
            model=BASE, prompt=PROMPT, max_tokens=TOKENS, temperature=0, extra_body={"return_token_ids": True}
        )
        return answer.choices[0].model_dump()

    choice = complete(client)
    assert choice == complete(direct)
    token_ids, prompt_token_ids = choice["token_ids"], choice["prompt_token_ids"]
    assert isinstance(token_ids, list)
    assert isinstance(prompt_token_ids, list)
    assert len(token_ids) == TOKENS
    continued = client.completions.create(
        model=BASE, prompt=[*prompt_token_ids, *token_ids[:5]], max_tokens=TOKENS - 5, temperature=0
    )
    assert str(choice["text"]).endswith(continued.choices[0].text)


def test_streamed_completions_carry_token_ids_when_asked_for(client: openai.OpenAI) -> None:
    def complete() -> list[int]:
        stream = client.completions.create(
            model=BASE,
            prompt=PROMPT,
            max_tokens=TOKENS,
            temperature=0,
            stream=True,
            extra_body={"return_token_ids": True},
        )
        return [token for chunk in stream for token in chunk.choices[0].model_dump()["token_ids"]]

    first = complete()
    assert len(first) == TOKENS
    assert first == complete()


def test_streamed_completions_carry_no_token_ids_when_not_asked_for(client: openai.OpenAI) -> None:
    stream = client.completions.create(
        model=BASE, prompt=PROMPT, max_tokens=TOKENS, temperature=0, stream=True
    )
    assert {chunk.choices[0].model_dump()["token_ids"] for chunk in stream} == {None}


def test_an_embedding_model_is_served_beside_the_chat_model(client: openai.OpenAI) -> None:
    texts = ["another server finishes the sentence", "zero one two three"]
    answer = client.embeddings.create(model=EMBEDDING, input=texts)
    vectors = [item.embedding for item in answer.data]
    assert [len(vector) for vector in vectors] == [64, 64]
    assert vectors[0] != vectors[1]
    assert vectors[0] == client.embeddings.create(model=EMBEDDING, input=texts[0]).data[0].embedding


def test_each_adapter_answers_by_its_own_name(client: openai.OpenAI, direct: openai.OpenAI) -> None:
    answers = {name: chat(client, name) for name in (BASE, SHARED_ADAPTER, RARE_ADAPTER)}
    assert answers == {name: chat(direct, name) for name in answers}
    assert len(set(answers.values())) == 3


def test_an_adapter_on_one_replica_is_never_asked_of_the_other(client: openai.OpenAI, fleet: Fleet) -> None:
    before = fleet.with_one.finished_requests()
    texts = {chat(client, RARE_ADAPTER) for _ in range(8)}
    assert len(texts) == 1
    assert fleet.with_one.finished_requests() == before


def test_an_adapter_loaded_while_running_is_found_and_forgotten_again(
    client: openai.OpenAI, fleet: Fleet
) -> None:
    def is_listed() -> bool:
        return "lora-late" in {model.id for model in client.models.list()}

    fleet.with_one.post(
        "/v1/load_lora_adapter", {"lora_name": "lora-late", "lora_path": str(MODELS / "lora-b")}
    )
    try:
        wait_until(is_listed, "the new adapter is listed")
        assert {chat(client, "lora-late") for _ in range(4)} == {chat(client, RARE_ADAPTER)}
    finally:
        fleet.with_one.post("/v1/unload_lora_adapter", {"lora_name": "lora-late"})
    wait_until(lambda: not is_listed(), "the adapter is listed no longer")
    with pytest.raises(openai.NotFoundError):
        chat(client, "lora-late")


def test_both_replicas_share_the_work(client: openai.OpenAI, fleet: Fleet) -> None:
    replicas = (fleet.with_both, fleet.with_one)
    before = [replica.finished_requests() for replica in replicas]

    def shares() -> list[int]:
        return [replica.finished_requests() - count for replica, count in zip(replicas, before, strict=True)]

    for _ in range(20):
        chat(client, SHARED_ADAPTER)
    wait_until(lambda: sum(shares()) == 20, "all requests are counted")
    assert min(shares()) >= 8


def test_the_responses_api_streams_to_its_own_end(client: openai.OpenAI) -> None:
    stream = client.responses.create(
        model=BASE, input="hello", max_output_tokens=TOKENS, temperature=0, stream=True
    )
    events = [event.type for event in stream]
    assert events[0] == "response.created"
    assert events[-1] in {"response.completed", "response.incomplete"}
    assert "response.output_text.delta" in events


@pytest.mark.parametrize("is_streaming", [False, True], ids=["plain", "streamed"])
def test_an_unknown_model_is_refused_in_the_words_of_vllm(
    client: openai.OpenAI, *, is_streaming: bool
) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        client.chat.completions.create(model="nope", messages=MESSAGES, stream=is_streaming)
    error = refused.value.body
    assert isinstance(error, dict)
    assert error["message"].startswith("The model `nope` does not exist.")
    assert (error["type"], error["param"], error["code"]) == ("NotFoundError", "model", 404)
