"""The language model: what it says must be a pure function of all ids so far."""

import random

from hypothesis import given
from hypothesis import strategies as st

from gateway.sim.detokenizer import Detokenizer
from gateway.sim.text import LanguageModel, decode, encode, expected_text, prompt_ids, render_chat
from gateway.sim.vocabulary import ASSISTANT, EOS, SYSTEM, TOKEN_BYTES, USER, VOCABULARY_SIZE

ids = st.lists(st.integers(0, VOCABULARY_SIZE - 1), max_size=60)
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]


@given(prompt=ids, cut=st.integers(0, 40), emoji=st.booleans(), adapter=st.sampled_from([None, "lora-a"]))
def test_a_prompt_of_p_and_t_goes_on_where_the_uninterrupted_run_would(
    *, prompt: list[int], cut: int, emoji: bool, adapter: str | None
) -> None:
    model = LanguageModel("demo", emoji=emoji)
    whole = model.greedy_ids(adapter, prompt, 40)
    rest = model.greedy_ids(adapter, [*prompt, *whole[:cut]], 40 - cut)
    assert whole[:cut] + rest == whole


@given(st.text())
def test_decoding_what_was_encoded_gives_the_text_back(text: str) -> None:
    assert decode(encode(text)) == text


@given(prompt=ids)
def test_generated_text_comes_apart_into_the_ids_it_was_made_from(prompt: list[int]) -> None:
    said = LanguageModel("demo", emoji=True).greedy_ids(None, [*prompt, ASSISTANT], 50)
    while said and b"\xf0" in TOKEN_BYTES[said[-1]]:  # do not end inside a character
        said.pop()
    assert encode(decode(said)) == said


def test_models_and_adapters_say_different_things() -> None:
    texts = {
        expected_text("demo", None, CHAT, 20),
        expected_text("other", None, CHAT, 20),
        expected_text("demo", "lora-a", CHAT, 20),
        expected_text("demo", "lora-b", CHAT, 20),
    }
    assert len(texts) == 4


def test_without_emoji_the_text_is_printable_ascii() -> None:
    text = expected_text("demo", None, CHAT, 2000)
    assert text.isascii()
    assert text.isprintable()


def test_with_emoji_some_characters_are_cut_in_two_by_the_tokens() -> None:
    said = LanguageModel("demo", emoji=True).greedy_ids(None, render_chat(CHAT), 300)
    assert any(TOKEN_BYTES[token] == b" \xf0\x9f" for token in said)
    text = expected_text("demo", None, CHAT, 300, emoji=True)
    assert "😀" in text
    assert "�" not in text


def test_the_text_is_the_same_in_every_version() -> None:
    # Ledgers compare processes started at different times: a change here is a change of the model.
    assert expected_text("demo", None, CHAT, 8) == "Every kitchen carries your harbour answers that road"


def test_sampling_with_a_seed_repeats_and_without_one_does_not() -> None:
    model = LanguageModel("demo")

    def sampled(seed: int | None) -> list[int]:
        speaker = model.speaker(None, [1, 2, 3], random.Random(seed))
        return [speaker.next_token() for _ in range(40)]

    assert sampled(7) == sampled(7)
    assert sampled(None) != sampled(None)


def test_the_chat_template_marks_roles_and_opens_the_answer() -> None:
    rendered = render_chat([{"role": "user", "content": "."}])
    assert rendered == [USER, 46, EOS, ASSISTANT]
    assert render_chat([{"role": "system", "content": "."}])[0] == SYSTEM


def test_a_final_message_that_is_continued_stays_open() -> None:
    messages = [{"role": "user", "content": "."}, {"role": "assistant", "content": "The"}]
    assert render_chat(messages, continue_final=True) == [USER, 46, EOS, ASSISTANT, *encode("The")]


def test_content_may_be_parts_or_null() -> None:
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    assert render_chat([{"role": "user", "content": parts}]) == render_chat(
        [{"role": "user", "content": "Hello"}]
    )
    assert render_chat([{"role": "user", "content": None}]) == [USER, EOS, ASSISTANT]


def test_prompts_may_be_text_ids_or_messages() -> None:
    assert prompt_ids("a b") == encode("a b")
    assert prompt_ids([5, 6]) == [5, 6]
    assert prompt_ids(CHAT) == render_chat(CHAT)


def test_special_tokens_are_shown_by_name_only_on_request() -> None:
    assert decode([USER, 46]) == "."
    assert decode([USER, 46], specials=True) == "<|user|>."


@given(prompt=ids, said=ids)
def test_text_comes_out_whole_characters_at_a_time_and_nothing_is_lost(
    prompt: list[int], said: list[int]
) -> None:
    prompt = [*prompt, *encode("....")]  # ends between characters
    detokenizer = Detokenizer(prompt)
    text = "".join(detokenizer.feed(token) for token in said)
    whole = decode(said)
    assert whole.startswith(text)
    kept_back = whole[len(text) :]
    assert kept_back == "" or kept_back.endswith("�")  # a whole token, of which only the end is incomplete


def test_a_prompt_that_ends_inside_a_character_comes_out_with_the_first_text() -> None:
    prompt = encode("hello") + list("😀".encode()[:2])
    detokenizer = Detokenizer(prompt)
    assert detokenizer.feed("😀".encode()[2]) == ""
    assert detokenizer.feed("😀".encode()[3]) == "hello😀"
    assert detokenizer.feed(46) == "."
