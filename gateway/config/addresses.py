"""Addresses to listen on and URLs of replicas, checked, in one form. Pure; never resolves a name."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit

from pydantic import BeforeValidator, PlainSerializer, PlainValidator, WithJsonSchema

from gateway.config.errors import Invalid, shown

_ADDRESS = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<host>[^:\[\]]*)):(?P<port>[0-9]{1,5})")
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?\.?")
_LOOKS_LIKE_IPV4 = re.compile(r"[0-9.]+")
_ADDRESS_HINT = 'write 127.0.0.1:8000, :8000 for all interfaces, or "[::1]:8000" in quotes'
_URL_HINT = "write http://10.0.0.1:8000"
_LARGEST_PORT = 65_535
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """A host and port to listen on. An empty host means all interfaces, port 0 a free port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it. Host names other than localhost count as reachable."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def is_wildcard(self) -> bool:
        """Whether it listens on all interfaces."""
        return self.host in {"", "0.0.0.0", "::"}

    def clashes_with(self, other: "Address") -> bool:
        """Whether both can't be listened on: one port (0 is always another) on a common interface."""
        if self.port != other.port or self.port == 0:
            return False
        return self.host == other.host or self.is_wildcard or other.is_wildcard


def parse_address(value: object) -> Address:
    """An address from `127.0.0.1:8000`, `[::1]:8000`, `:8000` (all interfaces), `localhost:0` (a free port).

    Raises:
        Invalid: no port, a port over 65535, or a host that is neither a name nor an IP address.
    """
    if isinstance(value, Address):
        return value
    match = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise Invalid(f"{shown(value)} is not an address", _ADDRESS_HINT)
    port = int(match["port"])
    if port > _LARGEST_PORT:
        raise Invalid(f"{port} is not a port", f"ports end at {_LARGEST_PORT}")
    host = (match["v6"] or match["host"]).lower()
    if host and not _is_host(host, bracketed=match["v6"] is not None):
        raise Invalid(f"{shown(value)} is not an address", _ADDRESS_HINT)
    return Address(host, port)


def parse_replica_url(value: object) -> str:
    """A replica's base URL, which is its identity: lower-case host, explicit port, no trailing slash.

    Raises:
        Invalid: not http(s), has a user, query or fragment, or ends in /v1 (which belongs to the routes).
    """
    split = _split_http_url(value)
    path = split.path.rstrip("/")
    if split.query or split.fragment or "?" in str(value) or "#" in str(value):
        raise Invalid("the URL must not have a query or a fragment", _URL_HINT)  # it may carry a key
    base = _origin(split)
    if path.endswith("/v1"):
        raise Invalid(
            f"{shown(value)} ends in /v1, which the gateway adds itself", f"write {base}{path[:-3]}"
        )
    return base + path


def parse_endpoint_url(value: object) -> str:
    """An http(s) URL of another service (a trace collector), path and query kept.

    Raises:
        Invalid: not an http(s) URL, or it carries a user or password.
    """
    split = _split_http_url(value)
    query = f"?{split.query}" if split.query else ""
    return f"{_origin(split)}{split.path}{query}"


def _split_http_url(value: object) -> SplitResult:
    """Split and check what all our URLs have in common.

    Userinfo is looked for first: a message about anything else would repeat the password.
    """
    if not isinstance(value, str):
        raise Invalid(f"{shown(value)} is not a URL", _URL_HINT)
    if "@" in value:
        raise Invalid("the URL must not carry a user name or password", "name its variable in api_key_env")
    if not value.isascii() or not value.isprintable() or " " in value:
        raise Invalid(f"{shown(value)} is not a URL", "only printable ASCII characters, no spaces")
    try:
        split = urlsplit(value)
        host, port = split.hostname or "", split.port
    except ValueError:
        raise Invalid(f"{shown(value)} is not a URL", _URL_HINT) from None
    if split.scheme not in _DEFAULT_PORTS or not split.netloc:
        hint = f"write http://{value}" if _ADDRESS.fullmatch(value) else _URL_HINT
        raise Invalid(f"{shown(value)} is not an http or https URL", hint)
    if port == 0 or not _is_host(host, bracketed="[" in split.netloc):
        raise Invalid(f"{shown(value)} is not a URL", _URL_HINT)
    return split


def _origin(split: SplitResult) -> str:
    host = split.hostname or ""
    port = split.port or _DEFAULT_PORTS[split.scheme]
    return f"{split.scheme}://{Address(host, port)}"


def _is_host(host: str, *, bracketed: bool) -> bool:
    try:
        if bracketed:
            ipaddress.IPv6Address(host)
        elif _LOOKS_LIKE_IPV4.fullmatch(host):
            ipaddress.IPv4Address(host)
        elif not _HOST.fullmatch(host):
            return False
    except ValueError:
        return False
    return True


def _url_schema(description: str) -> WithJsonSchema:
    schema: dict[str, Any] = {
        "type": "string",
        "format": "uri",
        "pattern": "^https?://",
        "description": description,
    }
    return WithJsonSchema(schema)


ListenAddress = Annotated[
    Address,
    PlainValidator(parse_address),
    PlainSerializer(str, return_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "description": "Address: 127.0.0.1:8000, [::1]:8000, or :8000 for all interfaces",
            "examples": ["127.0.0.1:8000", ":8000"],
        }
    ),
]
ReplicaUrl = Annotated[
    str, BeforeValidator(parse_replica_url), _url_schema("Base URL of a vLLM server, without /v1")
]
EndpointUrl = Annotated[str, BeforeValidator(parse_endpoint_url), _url_schema("An http or https URL")]
