"""Who may use the admin listener.

On loopback the danger is the operator's own browser: a web page that resolves its name to 127.0.0.1 (DNS
rebinding) or posts a form. So the Host header must name this machine, and a change needs a JSON body, which
no foreign page can send without asking first. On any other address everything but `/metrics` needs the token.
"""

import binascii
import hmac
import ipaddress
from base64 import b64decode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from gateway.config import Address
from gateway.control.admin.answers import failure

OPEN_PATHS = frozenset({"/metrics"})
"""What Prometheus needs, without a token on any address."""

_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
# Basic as well as Bearer, so that a browser asks for the token (as the password) and sends it by itself. In
# two fields: Chromium does not look for a second challenge in one.
_CHALLENGES = ('Bearer realm="vllm-gateway"', 'Basic realm="vllm-gateway", charset="UTF-8"')


@dataclass(frozen=True, slots=True)
class Access:
    """Where the listener is and the token it asks for; without a token it must be on loopback.

    Raises:
        ValueError: no token on an address that others can reach.
    """

    address: Address
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.token is None and not self.address.is_loopback:
            raise ValueError(f"the admin listener on {self.address} needs a token")

    def refusal(self, request: web.Request) -> web.Response | None:
        """Why this request may not go on, or None when it may."""
        if self.address.is_loopback and not self._names_this_machine(request.host):
            return failure(403, f"The Host header {request.host!r} does not name this machine.")
        if self.token is not None and request.path not in OPEN_PATHS and not self._has_token(request):
            return _ask_for_token()
        if request.method in {"GET", "HEAD"}:
            return None
        if not _same_site(request):
            return failure(403, "A page of another site may not change anything here.")
        if request.content_type != "application/json":
            return failure(415, "Send a JSON body with 'Content-Type: application/json'.")
        return None

    def _names_this_machine(self, host_header: str) -> bool:
        try:
            host = urlsplit(f"//{host_header}").hostname or ""
        except ValueError:
            return False
        if host in {"localhost", self.address.host}:
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def _has_token(self, request: web.Request) -> bool:
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        given = credentials.strip().encode("utf-8", "surrogateescape")
        if scheme.lower() == "basic":
            try:
                given = b64decode(given, validate=True).partition(b":")[2]
            except binascii.Error:
                return False
        elif scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(given, (self.token or "").encode())


def _ask_for_token() -> web.Response:
    response = failure(401, "The admin token is missing or wrong: send it as 'Authorization: Bearer TOKEN'.")
    for challenge in _CHALLENGES:
        response.headers.add("WWW-Authenticate", challenge)
    return response


def guard(access: Access) -> Middleware:
    """The middleware that refuses."""

    @web.middleware
    async def middleware(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        refusal = access.refusal(request)
        if refusal is not None:
            return refusal
        try:
            return await handler(request)
        except web.HTTPException as error:
            return failure(error.status, f"{error.reason}: {request.method} {request.path}")

    return middleware


async def keep_browsers_careful(_request: web.Request, response: web.StreamResponse) -> None:
    """Put headers on an answer, a stream included, before it leaves (an `on_response_prepare` signal)."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)


def _same_site(request: web.Request) -> bool:
    """False when a browser says that a page from elsewhere sends this; other clients say nothing."""
    if request.headers.get("Sec-Fetch-Site", "none") not in {"same-origin", "none"}:
        return False
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == request.host
