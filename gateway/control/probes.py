"""Asking a replica: is it well, and what does it serve.

One question is one short GET over a client session that all replicas share. Every failure becomes an outcome
that the health rules understand; nothing is raised for a replica that misbehaves.
"""

import errno
import time
from dataclasses import dataclass

import aiohttp
import msgspec
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from gateway.fleet.health import Probe
from gateway.fleet.observation import ServedModel

KEEPALIVE_S = 4.0
"""Idle connections are given up before vLLM's uvicorn does so, after 5 s."""
READ_LIMIT_BYTES = 8 << 20
"""A listing or an exposition longer than this is not one."""
_HTTP_OK = range(200, 300)
_HTTP_KEY = frozenset({401, 403})

_VERDICTS: tuple[tuple[tuple[type[Exception], ...], Probe, str], ...] = (
    ((aiohttp.ClientConnectorDNSError,), Probe.REFUSED, "the host name is unknown"),
    ((aiohttp.InvalidURL,), Probe.REFUSED, "the URL is not valid"),
    ((aiohttp.ClientSSLError,), Probe.BAD_STATUS, "TLS failed"),
    ((TimeoutError,), Probe.TIMEOUT, "no answer in time"),
    ((aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError), Probe.TIMEOUT, "the connection broke"),
    ((aiohttp.ClientResponseError, ValueError), Probe.BAD_STATUS, "the answer is not HTTP that can be read"),
)
"""The first that fits holds."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to ask. `authorization` is the header's whole value."""

    url: str
    authorization: str | None = None

    def __repr__(self) -> str:
        """Never shows the key."""
        return f"<Target {self.url}>"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One probe. `detail` is a few words for the operator; `latency_s` is how long the answer took."""

    probe: Probe
    detail: str
    latency_s: float = 0.0


class NoAnswer(Exception):
    """A question got no usable answer; `outcome` says what that means for the replica's health."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.detail)
        self.outcome = outcome


class _Entry(msgspec.Struct):
    id: str
    parent: str | None = None
    root: str | None = None
    max_model_len: int | None = None


class _Listing(msgspec.Struct):
    data: list[_Entry]


def open_session() -> aiohttp.ClientSession:
    """The session for all replicas. No limit on connections: one slow replica must not delay another."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "vllm-gateway"},
    )


async def fetch(
    session: aiohttp.ClientSession, target: Target, path: str, timeout_s: float
) -> tuple[bytes, float]:
    """The body of a 2xx answer to `GET path`, and how long it took in seconds.

    Raises:
        NoAnswer: anything else.
    """
    started = time.monotonic()
    try:
        async with session.get(
            target.url + path,
            headers={} if target.authorization is None else {"Authorization": target.authorization},
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            allow_redirects=False,
        ) as response:
            body = await _limited(response)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise NoAnswer(classify(error)) from None
    latency_s = time.monotonic() - started
    if response.status not in _HTTP_OK:
        hint = " (is its API key right?)" if response.status in _HTTP_KEY else ""
        raise NoAnswer(Outcome(Probe.BAD_STATUS, f"GET {path}: HTTP {response.status}{hint}", latency_s))
    return body, latency_s


async def _limited(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > READ_LIMIT_BYTES:
            raise ValueError("the answer has no end")
    return bytes(body)


def classify(error: Exception) -> Outcome:
    """What a failed request proves about the replica.

    Only a refused connection and an unknown name prove that nobody is there. A reset or a timeout may be a
    saturated server or the network: soft, as if the probe had timed out.
    """
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.errno == errno.ECONNREFUSED:
        return Outcome(Probe.REFUSED, "connection refused")
    for kinds, verdict, detail in _VERDICTS:
        if isinstance(error, kinds):
            return Outcome(verdict, detail)
    return Outcome(Probe.TIMEOUT, f"the connection failed: {error}")


async def probe(session: aiohttp.ClientSession, target: Target, path: str, timeout_s: float) -> Outcome:
    """One health probe."""
    try:
        _, latency_s = await fetch(session, target, path, timeout_s)
    except NoAnswer as no:
        return no.outcome
    return Outcome(Probe.OK, "healthy", latency_s)


async def read_models(
    session: aiohttp.ClientSession, target: Target, timeout_s: float
) -> tuple[ServedModel, ...]:
    """What the replica lists under `/v1/models`, asked again a few times when the network is to blame.

    Raises:
        NoAnswer: no listing. With the last attempt's outcome, which is never OK.
    """
    attempts = AsyncRetrying(
        stop=stop_after_attempt(3),
        wait=wait_random_exponential(multiplier=0.1, max=1.0),
        retry=retry_if_exception(lambda e: isinstance(e, NoAnswer) and e.outcome.probe is Probe.TIMEOUT),
        reraise=True,
    )
    answer: tuple[bytes, float] = await attempts(fetch, session, target, "/v1/models", timeout_s)
    body, latency_s = answer
    try:
        listing = msgspec.json.decode(body, type=_Listing)
    except msgspec.DecodeError:
        raise NoAnswer(
            Outcome(Probe.BAD_STATUS, "GET /v1/models: the answer is not a model list", latency_s)
        ) from None
    return tuple(ServedModel(m.id, m.parent, m.root, m.max_model_len) for m in listing.data)
