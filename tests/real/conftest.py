"""Real vLLM for the tests marked `real`, started once for the whole run: about a minute on two cores.

A test that breaks a server restarts it.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import aiohttp
import openai
import pytest
from xdist.scheduler import LoadFileScheduling

from tests.real.crowd import QUESTIONS
from tests.real.fleet import EMBEDDER, WITH_BOTH, WITH_ONE, Fleet, client_of
from tests.real.front import Gateway, serving
from tests.real.guarded import free_ports, running
from tests.real.servers import MODELS, VLLM, VllmServer
from tests.real.streams import Heard, answers

WITHOUT_FLEET = ("test_up.py", "test_guard.py")


class _ByServers(LoadFileScheduling):  # type: ignore[misc]  # it has no types
    """Test processes beside each other: one has the fleet and all files that need it."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return file if file.endswith(WITHOUT_FLEET) else "fleet"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _ByServers:
    """Whatever `--dist` says: a second fleet would cost more than it saves."""
    return _ByServers(config, log)


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
    with serving("gateway", fleet.config(), tmp_path_factory) as front:
        yield front


@pytest.fixture(scope="session")
def gateway_without_resume(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with serving("without-resume", fleet.config(resume="off"), tmp_path_factory) as front:
        yield front


@pytest.fixture(scope="session")
def undisturbed(fleet: Fleet) -> Sequence[Heard]:
    """What replicas that nothing happens to answer to a crowd: both the same."""
    first, second = (asyncio.run(answers(one.url, QUESTIONS)) for one in (fleet.with_one, fleet.with_both))
    assert [heard.failure for heard in (*first, *second) if heard.failure] == []
    assert [heard.answer for heard in first] == [heard.answer for heard in second]
    return first


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
