"""Which paths of the public listener lead where.

Below `/v1/` every POST that names a model is relayed, also to routes that vLLM adds tomorrow. Outside it
only known inference routes are. vLLM's operator routes are refused wherever they lie.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, auto

from gateway.proxy.errors import GatewayError, MethodNotAllowed, RouteNotFound


class Kind(Enum):
    """Who answers."""

    INFERENCE = auto()
    MODELS = auto()
    MODEL = auto()
    HEALTH = auto()


@dataclass(frozen=True, slots=True)
class Route:
    """A path that is served.

    `ends` are the lines one of which every complete stream of it holds; empty where nothing is known. The
    line feeds make them safe to search for: inside a JSON string they would be escaped. `resumable` says that
    another replica can go on with a stream of it.
    """

    kind: Kind
    path: str
    ends: tuple[bytes, ...] = ()
    resumable: bool = False


def _lines(*lines: bytes) -> tuple[bytes, ...]:
    """As they are where lines end with LF, and where they end with CR LF."""
    return (*lines, *(line.replace(b"\n", b"\r\n") for line in lines))


_STREAM_ENDS = {
    "/v1/chat/completions": _lines(b"data: [DONE]\n\n"),
    "/v1/completions": _lines(b"data: [DONE]\n\n"),
    "/v1/messages": _lines(b"event: message_stop\n"),
    "/v1/responses": _lines(
        *(b"event: response.completed\n", b"event: response.incomplete\n", b"event: response.failed\n")
    ),
}
_RESUMABLE = frozenset(("/v1/chat/completions", "/v1/completions"))
_OUTSIDE_V1 = (
    *("/tokenize", "/detokenize", "/pooling", "/classify", "/score", "/rerank"),
    *("/v2/rerank", "/v2/embed", "/generative_scoring"),
)

# A plain path: no escapes, no empty or dot segments, no trailing slash. vLLM's router would decode `%6c` and
# redirect `//`, so anything else could reach a route that was not the one looked at here.
_PLAIN = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~:@-]+)+")
_OPERATOR = re.compile(
    r"sleep|is_sleeping|wake_up|pause|is_paused|resume|abort_requests|collective_rpc|invocations|adapters|"
    r"(?:load|unload)_lora_adapter|reset_\w+|release_\w+|(?:start|stop)_profile|\w*scal\w*_elastic_ep|"
    r"server_info|get_world_size|shutdown\w*|\w*weights?(?:_\w+)?|\w*weight_transfer\w*|kv_event_sources"
)


class Routes:
    """The routing table of one listener."""

    def __init__(self, extra: Collection[str] = ()) -> None:
        known = (*_STREAM_ENDS, *_OUTSIDE_V1, *extra)
        self._posts = {
            path: Route(Kind.INFERENCE, path, _STREAM_ENDS.get(path, ()), path in _RESUMABLE)
            for path in known
        }
        self._gets = {
            "/v1/models": Route(Kind.MODELS, "/v1/models"),
            "/health": Route(Kind.HEALTH, "/health"),
        }

    def find(self, method: str, path: str) -> Route:
        """The route of a request, its query removed. Raises `RouteNotFound` or `MethodNotAllowed`."""
        if method == "POST":
            return self._posts.get(path) or self._later_route(path)
        if method in {"GET", "HEAD"}:
            if route := self._gets.get(path):
                return route
            if path.startswith("/v1/models/"):
                return Route(Kind.MODEL, path)
        raise self._refusal(method, path)

    def _later_route(self, path: str) -> Route:
        if (
            path.startswith("/v1/")
            and path not in self._gets
            and _PLAIN.fullmatch(path)
            and not _is_operator(path)
        ):
            return Route(Kind.INFERENCE, path)
        raise self._refusal("POST", path)

    def _refusal(self, method: str, path: str) -> GatewayError:
        if path in self._posts or path in self._gets:
            return MethodNotAllowed(f"Method {method} is not allowed for {path}.")
        return RouteNotFound("Not Found")


def _is_operator(path: str) -> bool:
    return any(_OPERATOR.fullmatch(segment) for segment in path.split("/"))
