"""`vllm-gateway up` with real vLLM: two models and an adapter from one configuration file."""

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self
from urllib.request import urlopen
from uuid import uuid4

import openai
import pytest
import yaml

from tests.real.fleet import client_of
from tests.real.front import GATEWAY
from tests.real.guard import session_members
from tests.real.guarded import GuardedProcess, free_ports, running, wait_until
from tests.real.servers import ENVIRONMENT, LOGS, MODELS, VLLM

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

TINY, CHAR, ADAPTER = "tiny", "char", "lora-a"
START_S = 300.0
"""For two servers one after the other, on cores that others use too."""
MARK = "UP_TEST"


class House(GuardedProcess):
    """`vllm-gateway up -c FILE`, and the vLLM processes that come of it."""

    def __init__(self, folder: Path) -> None:
        public, admin = free_ports(2)
        self.folder = folder
        self.mark = uuid4().hex
        self.admin_url = f"http://127.0.0.1:{admin}"
        path = folder / "gateway.yaml"
        config = _config() | {"listen": f"127.0.0.1:{public}", "admin": f"127.0.0.1:{admin}"}
        path.write_text(yaml.safe_dump(config))
        environment = {**ENVIRONMENT, MARK: self.mark, "COLUMNS": "200"}
        super().__init__([str(GATEWAY), "up", "-c", str(path)], environment, public, LOGS / "up.log")

    def start(self) -> Self:
        """Starts it and waits until both models are served."""
        super().start()
        wait_until(self._is_decided, f"{self} serves, see {self.log}", START_S)
        assert "clients: export" in self.log.read_text(), self.log.read_text()
        return self

    def _is_decided(self) -> bool:
        return "clients: export" in self.log.read_text() or not self.is_running

    def status(self) -> dict[str, Any]:
        with urlopen(f"{self.admin_url}/api/status", timeout=10) as response:
            document: dict[str, Any] = json.load(response)
        return document

    def engine(self, name: str) -> int:
        """The process id of a server's newest engine, by its log."""
        log = (self.folder / ".vllm-gateway" / "logs" / f"{name}.log").read_text()
        return int(re.findall(r"\(EngineCore pid=(\d+)\)", log)[-1])

    def launched(self) -> set[int]:
        """The sessions of all that it launched: some of vLLM's processes overwrite their environment."""
        wanted = f"{MARK}={self.mark}".encode()
        pids = [
            int(path.parent.name) for path in Path("/proc").glob("[0-9]*/environ") if wanted in _read(path)
        ]
        assert self._guard is not None
        return {session for pid in pids for session in _session(pid)} - {self.pid, self._guard.pid}


def _config() -> dict[str, Any]:
    common = {"max_model_len": 2048, "kv_cache": "64MiB", "max_num_seqs": 8, "dtype": "float32"}
    common["enforce_eager"] = True
    with_adapter = {"adapters": {ADAPTER: str(MODELS / "lora-a")}}
    return {
        "workers": 1,
        "shutdown_grace": "2s",
        "gpus": [{"name": "RAM", "kind": "cpu", "memory": "8GiB"}],
        "vllm_command": str(VLLM),
        "models": {
            TINY: {"launch": {"model": str(MODELS / "tiny-llama"), "priority": 1, **common, **with_adapter}},
            CHAR: {"launch": {"model": str(MODELS / "tiny-llama-char"), **common}},
        },
    }


def _session(pid: int) -> Iterator[int]:
    with suppress(ProcessLookupError):  # ended meanwhile
        yield os.getsid(pid)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # ended meanwhile
        return b""


def ask(client: openai.OpenAI, model: str) -> str:
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Hello"}], max_tokens=12, temperature=0
    )
    return answer.choices[0].message.content or ""


def answers(client: openai.OpenAI, model: str) -> Callable[[], bool]:
    """Whether a model answers at last."""

    def is_answering() -> bool:
        try:
            return bool(ask(client, model))
        except openai.APIStatusError:
            return False

    return is_answering


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    for needed in (VLLM, MODELS):
        if not needed.exists():
            pytest.fail(f"{needed} is missing; `make test-real` makes it", pytrace=False)
    house = House(tmp_path_factory.mktemp("up"))
    with running(house):
        yield house
        assert house.terminate() == 0, f"it did not end cleanly, see {house.log}"
        assert house.launched() == set()


@pytest.fixture
def client(house: House) -> Iterator[openai.OpenAI]:
    with client_of(house.url) as client:
        yield client


def test_both_models_and_the_adapter_chat(house: House, client: openai.OpenAI) -> None:
    assert {model.id for model in client.models.list()} == {TINY, CHAR, ADAPTER}
    spoken = {model: ask(client, model) for model in (TINY, CHAR, ADAPTER)}
    assert len(set(spoken.values())) == 3
    assert all(spoken.values())
    (device,) = house.status()["devices"]
    assert [server["model"] for server in device["servers"]] == [TINY, CHAR]


def test_nothing_listens_on_anything_but_loopback(house: House) -> None:
    inodes = {
        str(descriptor.readlink())
        for session in house.launched()
        for pid in session_members(session)
        for descriptor in Path(f"/proc/{pid}/fd").iterdir()
        if descriptor.is_symlink()
    }
    listening = [
        fields[1]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        if (fields := line.split())[3] == "0A" and f"socket:[{fields[9]}]" in inodes
    ]
    assert len(listening) >= 2
    loopback = ("0100007F:", "00000000000000000000000001000000:", "0000000000000000FFFF00000100007F:")
    assert [address for address in listening if not address.startswith(loopback)] == []


def test_a_server_whose_engine_is_killed_comes_back_with_its_adapter_while_the_other_answers(
    house: House, client: openai.OpenAI
) -> None:
    before, other = ask(client, ADAPTER), ask(client, CHAR)
    killed = house.engine(TINY)
    os.kill(killed, signal.SIGKILL)

    def is_back() -> bool:
        assert ask(client, CHAR) == other
        return house.engine(TINY) != killed and answers(client, ADAPTER)()

    wait_until(is_back, f"{TINY} is back", START_S)
    assert ask(client, ADAPTER) == before
    kinds = [event["kind"] for event in house.status()["events"]]
    assert kinds.count("server_ended") == 1


def test_kill_9_of_control_leaves_no_process_and_the_second_start_is_calibrated(
    house: House, client: openai.OpenAI
) -> None:
    assert "Calibrated" not in house.log.read_text()
    before = ask(client, ADAPTER)
    sessions = house.launched()
    assert len(sessions) == 4  # two servers and their guards
    os.kill(house.pid, signal.SIGKILL)
    wait_until(
        lambda: not any(pid for session in sessions for pid in session_members(session)),
        "every vLLM process is gone",
        30,
    )
    assert house.launched() == set()
    house.stop()
    house.start()
    assert f"Calibrated by earlier starts: {TINY}, {CHAR}" in house.log.read_text()
    assert ask(client, ADAPTER) == before
