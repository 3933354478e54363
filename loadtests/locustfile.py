"""Locust users that behave like clients of a language model, for a gateway or a plain vLLM server.

    LOADTEST_PROFILE=rag locust -f loadtests/locustfile.py --headless --only-summary
    LOADTEST_PROFILE=rag locust -f loadtests/locustfile.py --web-host 127.0.0.1       # http://127.0.0.1:8089

A profile (loadtests/profiles.toml) says who comes, what they ask, and when; `-u` and `-t` change its users
and its time. All variables are in loadtests/llm/settings.py. Each run writes a report and says where. Beside
Locust's usual entry for each kind of request, which times the whole answer, a streamed one has three of its
own:

    TTFT       ms from sending the request to the first event with text
    ITL        ms from one event with text to the next
    tokens/s   pace after the first token; the number in Locust's "ms" columns is tokens per second

They are kept out of "Aggregated", so that its request rate stays that of the requests.

Locust's limits: one process uses one core, which all its users share (figures in loadtests/SIZING.md).
Beyond that its own waiting shows in TTFT and ITL, and it has to be spread (`--processes -1`: one per core).
Its tables round to whole ms below 100 ms, to two digits above; the report does not. This file is for
behaviour under a mixed load; what a gateway adds to a token, `python -m loadtests.bench` measures.
"""

import logging
import os
import random
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any, ClassVar

from locust import FastHttpUser, LoadTestShape, between, events, task
from locust.contrib.fasthttp import ResponseContextManager
from locust.env import Environment
from locust.exception import StopUser
from locust.html import get_html_report
from locust.runners import LocalRunner, Runner, WorkerRunner
from locust.web import WebUI

from loadtests.llm.fleet import FleetError
from loadtests.llm.problems import refusal
from loadtests.llm.profiles import Kind, ProfileError
from loadtests.llm.prompts import prompt, shared_prefix
from loadtests.llm.settings import SettingError, from_environment
from loadtests.llm.stream import StreamedAnswer, read_stream
from loadtests.load import Load
from loadtests.report import folder

try:
    LOAD = Load(from_environment(os.environ))
except (SettingError, ProfileError) as error:
    sys.exit(f"locustfile: {error}")

FINISH_S = 30.0
"""How long a user who has to go may still listen to an answer: hanging up would be another kind of load."""
log = logging.getLogger("locustfile")


class LlmUser(FastHttpUser):
    """A client that may ask for the models of its kind."""

    abstract = True
    host = LOAD.settings.host
    network_timeout = 600.0
    default_headers = {"Authorization": f"Bearer {LOAD.settings.api_key}"} if LOAD.settings.api_key else {}
    kind: ClassVar[Kind]

    def on_start(self) -> None:
        self.rng = random.Random()
        try:
            self.models = LOAD.fleet(self.host).models(self.kind)
        except FleetError as missing:  # in a worker of a distributed load: the master has looked before
            log.error("%s", missing)  # noqa: TRY400  (the sentence says all)
            raise StopUser from None

    def text(self) -> str:
        return prompt(self.rng, self.rng.randint(*self.kind.prompt))


class ChatUser(LlmUser):
    """One turn of a conversation after the other; the first one may begin with what all users share."""

    abstract = True

    def on_start(self) -> None:
        super().on_start()
        self.messages: list[dict[str, str]] = []
        self.turn = 0

    @task
    def ask(self) -> None:
        if self.turn == 0:
            self.model = self.rng.choice(self.models)
            shared = shared_prefix(self.kind.shared)
            self.messages = [{"role": "system", "content": shared}] if shared else []
        self.messages.append({"role": "user", "content": self.text()})
        answer = self.chat()
        self.messages.append({"role": "assistant", "content": answer.text})
        heard_all = not answer.problem and not answer.left
        self.turn = (self.turn + 1) % self.kind.turns if heard_all else 0

    def chat(self) -> StreamedAnswer:
        """One streamed answer, recorded."""
        assert self.kind.answer is not None
        body = {
            "messages": self.messages,
            "model": self.model,
            "max_tokens": self.rng.randint(*self.kind.answer),
            "ignore_eos": True,  # vLLM's: what a model says to random words has no length to learn from
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        began, began_at = time.perf_counter(), time.time()
        with self.client.post(
            "/v1/chat/completions", name=self.kind.name, json=body, stream=True, catch_response=True
        ) as response:
            answer = self._read(response, began)
            took_s = time.perf_counter() - began
            response.request_meta["response_time"] = took_s * 1000
            if answer.problem:
                response.failure(answer.problem)
        LOAD.timeline.streamed(answer, began_at, began_at + took_s)
        self._report(answer)
        return answer

    def _read(self, response: ResponseContextManager, began: float) -> StreamedAnswer:
        if problem := problem_of(response):
            return StreamedAnswer(began, problem=problem)
        stream = response.stream
        try:
            answer = read_stream(lambda: stream.readline(b"\n\n"), time.perf_counter, began, self.kind.leaves)
        except (OSError, ValueError, RuntimeError) as broken:
            # geventhttpclient's parse errors are RuntimeErrors, its broken connections OSErrors
            answer = StreamedAnswer(began, problem=f"broken stream: {broken}")
        if answer.left:
            stream.release()  # in the middle of a body this closes the connection
        return answer

    def _report(self, answer: StreamedAnswer) -> None:
        """Straight into the entries: through Locust's request event they would count as requests."""
        stats, name = self.environment.stats, self.kind.name
        ttft_s, pace = answer.ttft_s(), answer.tokens_per_s()
        if ttft_s is not None:
            stats.get(name, "TTFT").log(ttft_s * 1000, 0)
        for gap_s in answer.gaps_s:
            stats.get(name, "ITL").log(gap_s * 1000, 0)
        if pace is not None:
            stats.get(name, "tokens/s").log(pace, 0)


class EmbeddingUser(LlmUser):
    """Batches of texts to embed."""

    abstract = True

    @task
    def embed(self) -> None:
        texts = [self.text() for _ in range(self.kind.texts)]
        body = {"model": self.rng.choice(self.models), "input": texts}
        began, began_at = time.perf_counter(), time.time()
        with self.client.post(
            "/v1/embeddings", name=self.kind.name, json=body, catch_response=True
        ) as response:
            took_s = time.perf_counter() - began
            problem = problem_of(response)
            answer: dict[str, Any] = {} if problem else response.json()
            if not problem and len(answer["data"]) != len(texts):
                problem = "a text without its embedding"
            if problem:
                response.failure(problem)
        tokens = answer.get("usage", {}).get("prompt_tokens", 0)
        LOAD.timeline.answered(began_at, began_at + took_s, tokens, failed=bool(problem))


def problem_of(response: ResponseContextManager) -> str:
    """Why there is no answer; "" if there is one."""
    status = response.status_code
    body = response.content if status not in {0, 200} else None  # of a stream it would be all of it
    return refusal(status, response.request_meta["exception"], body)


def user_class(kind: Kind) -> type[LlmUser]:
    base = EmbeddingUser if kind.model == "embedding" else ChatUser
    name = "".join(word.capitalize() for word in kind.name.split()) + "User"
    own = {"kind": kind, "weight": kind.share, "wait_time": between(*kind.think_s), "abstract": False}
    return type(name, (base,), own)


# Locust finds classes by their names in this module.
globals().update({each.__name__: each for each in map(user_class, LOAD.profile.mix)})


class Arrival(LoadTestShape):
    """As many users as the plan says; Locust asks once a second."""

    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        assert self.runner is not None
        environment = self.runner.environment
        options = environment.parsed_options
        assert options is not None
        try:
            plan = LOAD.plan or LOAD.begin(host_of(environment), options.num_users, options.run_time)
        except FleetError as missing:
            log.error("%s", missing)  # noqa: TRY400  (the sentence says all)
            if environment.web_ui is None:
                environment.process_exit_code = 1
            return None
        LOAD.note_cpu()
        if environment.web_ui is None:
            options.run_time = None  # else Locust would count it once more from the end of this
        phase = plan.at(self.get_run_time())  # type: ignore[no-untyped-call]  # Locust has no type for it
        return (phase.users, plan.change_per_s(phase)) if phase else None


def on(hook: Any, listener: Callable[..., None]) -> None:
    """Locust's hooks have no types; a listener takes what it names and `**_`."""
    hook.add_listener(listener)


def host_of(environment: Environment) -> str:
    return environment.host or LOAD.settings.host


def profile_as_default(parser: ArgumentParser) -> None:
    seconds = int(LOAD.profile.seconds)
    parser.set_defaults(host=LOAD.settings.host, num_users=LOAD.profile.users, run_time=seconds)


def prepare(environment: Environment, runner: Runner, web_ui: WebUI | None, **_: Any) -> None:
    environment.stop_timeout = environment.stop_timeout or FINISH_S
    if isinstance(runner, WorkerRunner):
        on(environment.events.report_to_master, send_seen)
        on(environment.events.test_start, forget)
        return
    on(environment.events.worker_report, receive_seen)
    on(environment.events.test_stop, report)
    if web_ui is None and isinstance(runner, LocalRunner):
        # a master that ended here would leave its workers waiting for it
        try:
            LOAD.fleet(host_of(environment))
        except FleetError as missing:
            sys.exit(f"locustfile: {missing}")


def forget(**_: Any) -> None:
    LOAD.forget()


def send_seen(data: dict[str, Any], **_: Any) -> None:
    LOAD.note_cpu()
    data["seen"] = LOAD.timeline.drain()


def receive_seen(data: dict[str, Any], **_: Any) -> None:
    LOAD.timeline.merge(data["seen"])


def report(environment: Environment, **_: Any) -> None:
    """Write the report and tell where it is: in a headless run at the very end, else at once."""
    failed = environment.stats.errors.values()
    run = LOAD.end([(each.occurrences, f"{each.name}: {each.error}") for each in failed])
    if run is None:
        log.warning("Nothing was measured, so there is no report.")
        return
    page = get_html_report(environment, show_download_link=False)  # type: ignore[no-untyped-call]  # as above
    path = folder.write(run, LOAD.settings.reports, page)
    if environment.web_ui is None:
        on(environment.events.quit, lambda **_: folder.tell(run, path))
    else:
        folder.tell(run, path)


on(events.init_command_line_parser, profile_as_default)
on(events.init, prepare)
