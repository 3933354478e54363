"""The gateway as its users run it: the installed `vllm-gateway serve` in a process of its own."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
import yaml

from tests.real.fleet import (
    ALIAS,
    BASE,
    EMBEDDING,
    EMBEDDING_KEY,
    EMBEDDING_KEY_VARIABLE,
    RARE_ADAPTER,
    SHARED_ADAPTER,
    client_of,
)
from tests.real.guarded import GuardedProcess, free_ports, running, wait_until
from tests.real.servers import LOGS, ROOT, VllmServer

GATEWAY = ROOT / ".venv" / "bin" / "vllm-gateway"


class Gateway(GuardedProcess):
    """`vllm-gateway serve -c FILE` on free ports of 127.0.0.1."""

    def __init__(
        self,
        label: str,
        config: Mapping[str, Any],
        ports: tuple[int, int],
        env: Mapping[str, str],
        folder: Path,
    ) -> None:
        """Writes the config to `folder`; `ports` are the public one and the admin one."""
        public, admin = (f"127.0.0.1:{port}" for port in ports)
        path = folder / f"{label}.yaml"
        path.write_text(yaml.safe_dump({"listen": public, "admin": admin, **config}))
        command = [str(GATEWAY), "serve", "-c", str(path)]
        super().__init__(command, env, ports[0], LOGS / f"{label}.log")
        self.admin_url = f"http://{admin}"
        self.metrics_url = f"{self.admin_url}/metrics"

    def status_of(self, replica: VllmServer) -> dict[str, Any]:
        """The replica's entry in the gateway's status."""
        with urlopen(f"{self.admin_url}/api/status", timeout=10) as response:
            replicas: list[dict[str, Any]] = json.load(response)["replicas"]
        return next(entry for entry in replicas if entry["url"] == replica.url)


@contextmanager
def serving(label: str, config: Mapping[str, Any], folders: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that has found every model of the fleet, and that must end cleanly in the end."""
    ports = free_ports(2)
    keys = {EMBEDDING_KEY_VARIABLE: EMBEDDING_KEY}
    front = Gateway(label, config, (ports[0], ports[1]), keys, folders.mktemp(label))
    with running(front):
        expected = {BASE, ALIAS, EMBEDDING, SHARED_ADAPTER, RARE_ADAPTER}
        client = client_of(front.url)
        wait_until(lambda: expected <= {model.id for model in client.models.list()}, f"{expected} are listed")
        yield front
        assert front.terminate() == 0, f"the gateway did not end cleanly, see {front.log}"


def wait_until_serving(gateway: Gateway, replica: VllmServer) -> None:
    """Until the gateway sends requests to the replica again, as to any other."""
    place = replica.url.removeprefix("http://")
    body = json.dumps({"model": SHARED_ADAPTER, "prompt": "a", "max_tokens": 1}).encode()

    def is_asked() -> bool:
        request = Request(f"{gateway.url}/v1/completions", body, {"content-type": "application/json"})
        with urlopen(request, timeout=30) as response:
            return bool(response.headers["x-served-by"] == place)

    def is_serving() -> bool:
        return is_asked() and gateway.status_of(replica)["condition"] == "up"

    wait_until(is_serving, f"{replica} serves again", 60)
