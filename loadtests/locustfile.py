"""Locust users that behave like clients of a language model, for a gateway or a plain vLLM server.

    locust -f loadtests/locustfile.py --web-host 127.0.0.1            # web UI on http://127.0.0.1:8089
    locust -f loadtests/locustfile.py --headless -u 40 -r 10 -t 1m --only-summary

Weights, pauses, lengths and models are environment variables (loadtests/llm/settings.py), for instance
LOADTEST_CHAT_WEIGHT=1 or LOADTEST_EMBEDDING_MODELS=bge-m3. Beside Locust's usual entry for each kind of
request, which times the whole answer, a streamed one has three of its own:

    TTFT       ms from sending the request to the first event with text
    ITL        ms from one event with text to the next
    tokens/s   pace after the first token; the number in Locust's "ms" columns is tokens per second

They are kept out of "Aggregated", so that its request rate stays that of the requests.

Locust's limits: one process uses one core, which all its users share, and a token costs it 20 to 40 µs of
CPU. So one process follows some 20,000 tokens/s; beyond that its own waiting shows in TTFT and ITL, and it
has to be spread (`--processes -1`: one per core). It rounds to whole ms below 100 ms, to two digits above.
This file is for behaviour under a mixed load; what a gateway adds to a token,
`python -m loadtests.bench` measures.
"""

import os
import random
import sys
import time

from locust import FastHttpUser, between, task
from locust.contrib.fasthttp import ResponseContextManager
from locust.exception import StopUser

from loadtests.llm.prompts import prompt
from loadtests.llm.settings import SettingError, Settings, from_environment
from loadtests.llm.stream import StreamedAnswer, read_stream

try:
    SETTINGS: Settings = from_environment(os.environ)
except SettingError as error:
    sys.exit(f"locustfile: {error}")

Message = dict[str, str]
CHAT = "/v1/chat/completions"


class LlmUser(FastHttpUser):
    """A client that learns the models first, as clients do, and then chats."""

    abstract = True
    host = SETTINGS.host
    wait_time = between(SETTINGS.think_min_s, SETTINGS.think_max_s)
    network_timeout = 600.0
    default_headers = {"Authorization": f"Bearer {SETTINGS.api_key}"} if SETTINGS.api_key else {}

    def on_start(self) -> None:
        self.rng = random.Random()
        self.models: list[str] = list(SETTINGS.models)
        self.adapters: list[str] = []
        with self.client.get("/v1/models", catch_response=True) as response:
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
                return
            listed = response.json()["data"]
        self.adapters = [model["id"] for model in listed if model.get("parent")]
        if not self.models:
            known = (*self.adapters, *SETTINGS.embedding_models)
            self.models = [model["id"] for model in listed if model["id"] not in known]

    def chat(self, kind: str, model: str, messages: list[Message], leave_after: int | None = None) -> str:
        """One streamed chat; returns what was said."""
        body = {
            "messages": messages,
            "model": model,
            "max_tokens": self.rng.randint(SETTINGS.tokens_min, SETTINGS.tokens_max),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        began = time.perf_counter()
        with self.client.post(CHAT, name=kind, json=body, stream=True, catch_response=True) as response:
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
                return ""
            answer = self._read(response, began, leave_after)
            response.request_meta["response_time"] = (time.perf_counter() - began) * 1000
            if answer.problem:
                response.failure(answer.problem)
        self._report(kind, answer)
        return answer.text

    def _read(
        self, response: ResponseContextManager, began: float, leave_after: int | None
    ) -> StreamedAnswer:
        stream = response.stream
        try:
            answer = read_stream(lambda: stream.readline(b"\n\n"), time.perf_counter, began, leave_after)
        except (OSError, ValueError, RuntimeError) as broken:
            # geventhttpclient's parse errors are RuntimeErrors, its broken connections OSErrors
            answer = StreamedAnswer(began, problem=f"broken stream: {broken}")
        if answer.left:
            stream.release()  # in the middle of a body this closes the connection
        return answer

    def _report(self, kind: str, answer: StreamedAnswer) -> None:
        """Straight into the entries: through Locust's request event they would count as requests."""
        stats = self.environment.stats
        ttft_s, pace = answer.ttft_s(), answer.tokens_per_s()
        if ttft_s is not None:
            stats.get(kind, "TTFT").log(ttft_s * 1000, 0)
        for gap_s in answer.gaps_s:
            stats.get(kind, "ITL").log(gap_s * 1000, 0)
        if pace is not None:
            stats.get(kind, "tokens/s").log(pace, 0)


class ChatUser(LlmUser):
    """Conversations whose history grows turn by turn."""

    weight = SETTINGS.chat_weight

    @task
    def converse(self) -> None:
        if not self.models:
            raise StopUser
        model = self.rng.choice(self.models)
        messages: list[Message] = []
        for _ in range(SETTINGS.turns):
            messages.append({"role": "user", "content": prompt(self.rng, SETTINGS.prompt_bytes)})
            said = self.chat("chat", model, messages)
            if not said:
                return
            messages.append({"role": "assistant", "content": said})
            self.wait()  # type: ignore[no-untyped-call]  # Locust has no type for it


class LongPromptUser(LlmUser):
    """A document in the prompt, a short answer."""

    weight = SETTINGS.long_prompt_weight

    @task
    def summarise(self) -> None:
        if not self.models:
            raise StopUser
        content = prompt(self.rng, SETTINGS.long_prompt_bytes)
        self.chat("long prompt", self.rng.choice(self.models), [{"role": "user", "content": content}])


class AdapterUser(LlmUser):
    """Any of the LoRA adapters that are listed."""

    weight = SETTINGS.adapter_weight

    @task
    def ask(self) -> None:
        if not self.adapters:
            raise StopUser
        content = prompt(self.rng, SETTINGS.prompt_bytes)
        self.chat("adapter", self.rng.choice(self.adapters), [{"role": "user", "content": content}])


class ImpatientUser(LlmUser):
    """Hangs up after a few tokens: somebody must tell the replica to stop generating."""

    weight = SETTINGS.impatient_weight

    @task
    def ask_and_leave(self) -> None:
        if not self.models:
            raise StopUser
        messages = [{"role": "user", "content": prompt(self.rng, SETTINGS.prompt_bytes)}]
        patience = self.rng.randint(1, max(1, SETTINGS.tokens_min // 2))
        self.chat("hang up", self.rng.choice(self.models), messages, leave_after=patience)


class EmbeddingUser(LlmUser):
    """Batches of texts to embed."""

    weight = SETTINGS.embedding_weight if SETTINGS.embedding_models else 0

    @task
    def embed(self) -> None:
        texts = [prompt(self.rng, SETTINGS.prompt_bytes) for _ in range(SETTINGS.embedding_batch)]
        body = {"model": self.rng.choice(SETTINGS.embedding_models), "input": texts}
        with self.client.post(
            "/v1/embeddings", name="embeddings", json=body, catch_response=True
        ) as response:
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
            elif len(response.json()["data"]) != len(texts):
                response.failure("a text without its embedding")
