"""Real vLLM for the tests marked `real`, started once for the whole run: about a minute on two cores.

A test that breaks a server restarts it.
"""

from collections.abc import AsyncIterator, Iterator

import aiohttp
import openai
import pytest

from tests.real.fleet import (
    ALIAS,
    BASE,
    EMBEDDER,
    EMBEDDING,
    EMBEDDING_KEY,
    EMBEDDING_KEY_VARIABLE,
    RARE_ADAPTER,
    SHARED_ADAPTER,
    WITH_BOTH,
    WITH_ONE,
    Fleet,
    client_of,
)
from tests.real.front import Gateway
from tests.real.guarded import free_ports, running, wait_until
from tests.real.servers import MODELS, VLLM, VllmServer


@pytest.fixture(scope="session")
def fleet() -> Iterator[Fleet]:
    for needed in (VLLM, MODELS):
        if not needed.exists():
            pytest.fail(f"{needed} is missing; `make test-real` makes it", pytrace=False)
    ports = free_ports(3)
    servers = Fleet(
        VllmServer("vllm-with-both", WITH_BOTH, ports[0]),
        VllmServer("vllm-with-one", WITH_ONE, ports[1]),
        VllmServer("vllm-embedder", EMBEDDER, ports[2]),
    )
    with running(servers.with_both, servers.with_one, servers.embedder):
        yield servers


@pytest.fixture(scope="session")
def gateway(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = {
        "workers": 2,
        "health": {"models_interval": "1s"},
        "models": {
            BASE: {"replicas": [fleet.with_both.url, fleet.with_one.url], "aliases": [ALIAS]},
            EMBEDDING: {"replicas": [{"url": fleet.embedder.url, "api_key_env": EMBEDDING_KEY_VARIABLE}]},
        },
    }
    public, admin = free_ports(2)
    folder = tmp_path_factory.mktemp("gateway")
    front = Gateway("gateway", config, (public, admin), {EMBEDDING_KEY_VARIABLE: EMBEDDING_KEY}, folder)
    with running(front):
        expected = {BASE, ALIAS, EMBEDDING, SHARED_ADAPTER, RARE_ADAPTER}
        client = client_of(front.url)
        wait_until(lambda: expected <= {model.id for model in client.models.list()}, f"{expected} are listed")
        yield front
        assert front.terminate() == 0, f"the gateway did not end cleanly, see {front.log}"


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with client_of(gateway.url) as through_gateway:
        yield through_gateway


@pytest.fixture
def direct(fleet: Fleet) -> Iterator[openai.OpenAI]:
    """A client of the replica that has both adapters, past the gateway: what vLLM itself says."""
    with client_of(fleet.with_both.url) as past_gateway:
        yield past_gateway


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        yield session
