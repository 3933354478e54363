"""Asking a running gateway, through its admin API."""

import asyncio
import os
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import ClientConnectorError, ClientError, ClientSession, ClientTimeout

from gateway.config import Address
from gateway.control.admin.status import PoolHistory, Status
from gateway.terminal.failures import Failure

TIMEOUT_S = 10.0


class _Error(msgspec.Struct, frozen=True):
    message: str


class _Refusal(msgspec.Struct, frozen=True):
    error: _Error


class Draining(msgspec.Struct, frozen=True):
    """Answer of drain and undrain."""

    replica: str
    draining: bool
    outstanding: int


@dataclass(frozen=True, slots=True)
class AdminClient:
    """A gateway's admin listener; each call is one connection. All raise `Failure` with one sentence."""

    address: Address
    token: str | None = field(default=None, repr=False)

    def status(self) -> Status:
        """What `GET /api/status` says."""
        try:
            return msgspec.json.decode(self.status_json(), type=Status)
        except msgspec.DecodeError:
            raise self._stranger() from None

    def history(self) -> list[PoolHistory]:
        """What `GET /api/history` says."""
        body = asyncio.run(self._ask("GET", "/api/history"))
        try:
            return msgspec.json.decode(body, type=list[PoolHistory])
        except msgspec.DecodeError:
            raise self._stranger() from None

    def status_json(self) -> bytes:
        """The same as it came, for programs."""
        return asyncio.run(self._ask("GET", "/api/status"))

    def drain(self, replica: str, *, draining: bool) -> Draining:
        """Start or end a drain."""
        action = "drain" if draining else "undrain"
        body = asyncio.run(self._ask("POST", f"/api/replicas/{action}", {"replica": replica}))
        return msgspec.json.decode(body, type=Draining)

    def _stranger(self) -> Failure:
        return Failure(f"{self.address} does not answer like a gateway of this version.")

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        headers = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        host = "127.0.0.1" if self.address.is_wildcard else self.address.host
        url = f"http://{Address(host, self.address.port)}{path}"
        timeout = ClientTimeout(total=TIMEOUT_S)
        try:
            async with (
                ClientSession(timeout=timeout, headers=headers) as session,
                session.request(method, url, json=body) as response,
            ):
                answer = await response.read()
                status = response.status
        except ClientConnectorError as error:
            reason = _why(error.os_error)
            raise Failure(f"No gateway answers on {self.address} ({reason}): is it running there?") from None
        except TimeoutError:
            raise Failure(f"{self.address} did not answer within {TIMEOUT_S:.0f} seconds.") from None
        except ClientError as error:
            raise Failure(f"{self.address} does not answer like a gateway: {error}.") from None
        if status == 401:  # noqa: PLR2004  (RFC 9110)
            wants = f"The gateway on {self.address} wants its admin token"
            raise Failure(f"{wants}: name the variable that holds it with --token-env.")
        if status >= 400:  # noqa: PLR2004  (RFC 9110: from here on it is an error)
            raise Failure(_reason(answer, status, self.address))
        return answer


def _why(error: OSError) -> str:
    # asyncio's own text for a refusal is "Connect call failed ('127.0.0.1', 9090)".
    number = error.errno or 0
    return (os.strerror(number) if number > 0 else error.strerror or str(error)).lower()


def _reason(answer: bytes, status: int, address: Address) -> str:
    """The gateway's own sentence; what is not ours in shape is not a gateway."""
    try:
        return msgspec.json.decode(answer, type=_Refusal).error.message
    except msgspec.DecodeError:
        return f"{address} does not answer like a gateway: HTTP {status}."
