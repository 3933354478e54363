"""Who asks, and under which name the request goes through the logs."""

import hashlib
import hmac
import os
import re
from collections.abc import Collection

from gateway.proxy.errors import Unauthorized
from gateway.proxy.headers import RequestHeaders

_FIT = re.compile(rb"[\x21-\x7e]{1,128}")


class RequestIds:
    """Ids that no two workers or runs share, cheaper than a UUID for each request."""

    __slots__ = ("_count", "_prefix")

    def __init__(self) -> None:
        self._prefix = os.urandom(10).hex()
        self._count = 0

    def take(self, offered: bytes | None) -> str:
        """The client's own id where it is fit to be passed on and logged, else a new one."""
        if offered is not None and _FIT.fullmatch(offered):
            return offered.decode("ascii")
        self._count += 1
        return f"{self._prefix}{self._count:012x}"


class ClientKeys:
    """The keys that clients may present, kept as SHA-256 digests."""

    __slots__ = ("_digests", "wanted")

    def __init__(self, digests: Collection[str]) -> None:
        self._digests = [bytes.fromhex(digest) for digest in digests]
        self.wanted = bool(digests)

    def check(self, headers: RequestHeaders) -> None:
        """Raise `Unauthorized` unless a key was presented, as OpenAI's or as Anthropic's clients do."""
        if not self.wanted:
            return
        scheme, _, token = (headers.get(b"authorization") or b"").partition(b" ")
        key = token.strip() if scheme.lower() == b"bearer" else (headers.get(b"x-api-key") or b"")
        presented = hashlib.sha256(key).digest()
        # Every digest is compared, so that the time taken tells nothing.
        if sum(hmac.compare_digest(presented, digest) for digest in self._digests) == 0:
            raise Unauthorized("The API key is missing or wrong.")
