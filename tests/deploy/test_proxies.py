"""TLS in front, for real: nginx and HAProxy let tokens through one by one and notice who leaves."""

import asyncio
import io
import json
import ssl
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.deploy.conftest import Ran
from tests.deploy.programs import find, version
from tests.deploy.proxies import PROXIES, Proxy
from tests.deploy.stepwise import MODEL, Stepwise, stepwise
from tests.integration.commands import closed_port, running

pytestmark = pytest.mark.deploy

SOON_S = 20.0
"""How long anything may take that should happen at once."""
SILENCE_S = 65.0
"""Longer than 60 s, after which nginx by default gives up on a silent server."""


@dataclass(frozen=True, slots=True)
class Chain:
    """Client, proxy, gateway, replica."""

    proxy: Proxy
    replica: Stepwise
    session: aiohttp.ClientSession

    def ask(self, prompt: str = "hello") -> Any:
        """The answer. It begins with the replica's first word: the gateway holds its head back till then."""
        data = io.BytesIO(json.dumps(body(prompt)).encode())
        headers = {"Content-Type": "application/json"}
        return self.session.post(f"{self.proxy.url}/v1/chat/completions", data=data, headers=headers)


def body(prompt: str) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": prompt}], "stream": True}


async def chained(stack: AsyncExitStack, name: str, folder: Path) -> Chain:
    find(name)
    replica = await stack.enter_async_context(stepwise())
    listen = f"127.0.0.1:{closed_port()}"
    gateway = await stack.enter_async_context(
        running("serve", replica.url, "--listen", listen, "--admin", "127.0.0.1:0", "--workers", "1")
    )
    await gateway.said("admin and metrics on")
    proxy = await stack.enter_async_context(PROXIES[name](folder / name, listen))
    context = ssl.create_default_context(cafile=str(proxy.authority))
    session = await stack.enter_async_context(
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context))
    )
    return Chain(proxy, replica, session)


@pytest.fixture(params=sorted(PROXIES))
async def chain(request: pytest.FixtureRequest, tmp_path: Path, ran: Ran) -> AsyncIterator[Chain]:
    async with AsyncExitStack() as stack:
        yield await chained(stack, request.param, tmp_path)
    ran(f"{version(request.param, '-v')}: TLS in front of a gateway, streams token by token, reloads")


async def heard(response: aiohttp.ClientResponse, word: str) -> None:
    """Read lines up to the one with this word."""
    async with asyncio.timeout(SOON_S):
        while word.encode() not in (line := await response.content.readline()):
            assert line, f"the answer ended before {word!r}"


async def test_each_token_arrives_before_the_next_one_is_made(chain: Chain) -> None:
    words = ("one", "two", "three", "four", "five")
    chain.replica.say(words[0])
    async with chain.ask() as response:
        for word, following in zip(words, (*words[1:], "six"), strict=True):
            await heard(response, word)
            chain.replica.say(following)
        chain.replica.finish()
        await heard(response, "[DONE]")
        assert await response.content.read() == b"\n"


@asynccontextmanager
async def curl(chain: Chain, *options: str) -> AsyncIterator[Process]:
    """A client that is a process of its own; killed, its connections are closed without another word."""
    process = await asyncio.create_subprocess_exec(
        *(find("curl"), *options, "--no-buffer", "--silent", "--show-error", "--include"),
        *("--cacert", str(chain.proxy.authority), "--header", "Content-Type: application/json"),
        *("--data", json.dumps(body("hello")), f"{chain.proxy.url}/v1/chat/completions"),
        stdout=PIPE,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def printed(process: Process, word: str) -> None:
    """Read what curl prints up to the line with this word."""
    assert process.stdout is not None
    async with asyncio.timeout(SOON_S):
        while word.encode() not in (line := await process.stdout.readline()):
            assert line, f"curl ended before {word!r}"


async def test_over_http_2_too(chain: Chain) -> None:
    chain.replica.say("one")
    async with curl(chain, "--http2") as client:
        await printed(client, "HTTP/2 200")
        for word, following in (("one", "two"), ("two", "three"), ("three", "four")):
            await printed(client, word)
            chain.replica.say(following)
        chain.replica.finish()
        await printed(client, "[DONE]")
        assert await client.wait() == 0


@pytest.mark.parametrize("protocol", ["--http1.1", "--http2"])
async def test_a_client_that_leaves_ends_the_answer_at_the_replica(chain: Chain, protocol: str) -> None:
    chain.replica.say("one")
    async with curl(chain, protocol) as client:
        await printed(client, "one")
        client.kill()
        async with asyncio.timeout(SOON_S):
            await chain.replica.gone.wait()


@pytest.mark.parametrize("protocol", ["--http1.1", "--http2"])
async def test_a_client_that_leaves_before_the_first_token_ends_it_too(chain: Chain, protocol: str) -> None:
    async with curl(chain, protocol) as client, asyncio.timeout(SOON_S):
        await chain.replica.asked.get()
        client.kill()
        await chain.replica.gone.wait()


async def test_a_reload_of_the_proxy_cuts_no_stream(chain: Chain) -> None:
    chain.replica.say("before")
    async with chain.ask() as response:
        await heard(response, "before")
        chain.proxy.reload()
        await new_connections_are_served(chain.proxy)
        chain.replica.say("after")
        await heard(response, "after")
        chain.replica.finish()
        await heard(response, "[DONE]")


async def new_connections_are_served(proxy: Proxy) -> None:
    """Several times, so that the old processes and the new ones have had their turn."""
    context = ssl.create_default_context(cafile=str(proxy.authority))
    for _ in range(5):
        connector = aiohttp.TCPConnector(ssl=context, force_close=True)
        async with (
            asyncio.timeout(SOON_S),
            aiohttp.ClientSession(connector=connector) as session,
            session.get(f"{proxy.url}/health") as response,
        ):
            assert response.status == 200
        await asyncio.sleep(0.1)


async def test_a_long_prompt_arrives_whole(chain: Chain) -> None:
    prompt = "x" * 5_000_000
    chain.replica.finish()
    async with chain.ask(prompt) as response:
        await heard(response, "[DONE]")
    assert chain.replica.prompt_length == len(prompt)


async def test_the_gateways_own_errors_come_through_as_they_are(chain: Chain) -> None:
    url = f"{chain.proxy.url}/v1/chat/completions"
    async with chain.session.post(url, json={"model": "nobody", "messages": []}) as response:
        assert response.status == 404
        assert "x-gateway-error" in response.headers
        assert (await response.json())["error"]["code"] == 404
    async with chain.session.get(f"{chain.proxy.url}/metrics") as response:
        assert response.status == 404


async def test_the_replica_learns_who_asks_and_not_what_the_client_made_up(chain: Chain) -> None:
    chain.replica.finish()
    made_up = {"X-Forwarded-For": "10.9.8.7", "X-Forwarded-Proto": "gopher"}
    url = f"{chain.proxy.url}/v1/chat/completions"
    async with chain.session.post(url, json=body("hi"), headers=made_up) as response:
        await heard(response, "[DONE]")
    asked = chain.replica.asked.get_nowait()
    assert asked.headers.getall("X-Forwarded-For") == ["127.0.0.1"]
    assert asked.headers.getall("X-Forwarded-Proto") == ["https"]


async def test_plain_http_is_sent_on_to_tls_and_a_post_stays_a_post(chain: Chain) -> None:
    url = f"http://127.0.0.1:{chain.proxy.plain_port}/v1/completions?x=1"
    async with chain.session.post(url, json={}, allow_redirects=False) as response:
        assert response.status == 308
        assert response.headers["Location"].startswith("https://127.0.0.1")
        assert response.headers["Location"].endswith("/v1/completions?x=1")


async def test_a_stream_lives_through_a_minute_of_silence(tmp_path: Path, ran: Ran) -> None:
    async with AsyncExitStack() as stack:
        chains = [await chained(stack, name, tmp_path) for name in sorted(PROXIES)]
        responses = []
        for chain in chains:
            chain.replica.say("before")
            responses.append(await stack.enter_async_context(chain.ask()))
            await heard(responses[-1], "before")
        await asyncio.sleep(SILENCE_S)  # the silence is what is tested
        for chain, response in zip(chains, responses, strict=True):
            chain.replica.say("after")
            await heard(response, "after")
            chain.replica.finish()
            await heard(response, "[DONE]")
    ran(f"nginx and haproxy: a stream silent for {SILENCE_S:g} s went on")
