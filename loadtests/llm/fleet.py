"""Which models a server has, and of which sort: asked before a load, so that what is missing is one sentence.

/v1/models doesn't say which models embed. So each base model is asked for one embedding; one that generates
refuses that at once.
"""

import contextlib
import http.client
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson

from loadtests.llm.profiles import Kind

TIMEOUT_S = 10.0
NEEDS = {
    "base": "a generating model",
    "adapter": "a LoRA adapter (`vllm serve --enable-lora --lora-modules NAME=PATH`)",
    "embedding": "an embedding model (`vllm serve` one, or `vllm-gateway simulate --pooling --model NAME`)",
}


class FleetError(RuntimeError):
    """The load can't be put on this server; its text is one sentence."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Model names by sort."""

    host: str
    base: tuple[str, ...]
    adapter: tuple[str, ...]
    embedding: tuple[str, ...]

    def models(self, kind: Kind) -> tuple[str, ...]:
        """The names that such a user may ask for."""
        return {"base": self.base, "adapter": self.adapter, "embedding": self.embedding}[kind.model]

    def narrowed(self, names: Sequence[str]) -> "Fleet":
        """The same with these names only, or as it is if there are none.

        Raises:
            FleetError: one of them is not listed.
        """
        listed = (*self.base, *self.adapter, *self.embedding)
        for name in names:
            if name not in listed:
                raise FleetError(f"{self.host} has no model {name!r}; it lists {', '.join(listed)}.")

        def kept(models: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(model for model in models if not names or model in names)

        return Fleet(self.host, kept(self.base), kept(self.adapter), kept(self.embedding))

    def check(self, mix: Iterable[Kind]) -> None:
        """Raise a FleetError if some kind of user would find nobody to ask."""
        for kind in mix:
            if not self.models(kind):
                names = ", ".join((*self.base, *self.adapter, *self.embedding)) or "no model at all"
                raise FleetError(
                    f"Users of kind {kind.name!r} need {NEEDS[kind.model]}; {self.host} has {names}."
                )


def look_up(host: str, api_key: str) -> Fleet:
    """Ask a server for its models.

    Raises:
        FleetError: nobody listens, it refuses the key, or its answer is not a list of models.
    """
    status, body = _ask(host, api_key, "GET", "/v1/models")
    if status in {http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN}:
        raise FleetError(f"{host} asks for a key that it knows; set LOADTEST_API_KEY.")
    try:
        listed = [(str(model["id"]), bool(model.get("parent"))) for model in orjson.loads(body)["data"]]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise FleetError(f"{host}/v1/models answers {status} and no list of models.") from None
    own = tuple(name for name, has_parent in listed if not has_parent)
    embedding = tuple(name for name in own if _embeds(host, api_key, name))
    return Fleet(
        host=host,
        base=tuple(name for name in own if name not in embedding),
        adapter=tuple(name for name, has_parent in listed if has_parent),
        embedding=embedding,
    )


def _embeds(host: str, api_key: str, model: str) -> bool:
    status, _ = _ask(
        host, api_key, "POST", "/v1/embeddings", orjson.dumps({"model": model, "input": "hello"})
    )
    return status == http.HTTPStatus.OK


def _ask(host: str, api_key: str, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    parts = urlsplit(host)
    kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    if parts.scheme not in kinds or not parts.hostname:
        raise FleetError(f"{host!r} is not an address like http://127.0.0.1:8000.")
    headers = {"Content-Type": "application/json"} | (
        {"Authorization": f"Bearer {api_key}"} if api_key else {}
    )
    try:
        connection = kinds[parts.scheme](parts.hostname, parts.port, timeout=TIMEOUT_S)
        with contextlib.closing(connection):
            connection.request(method, parts.path.rstrip("/") + path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
    except ConnectionRefusedError:
        raise FleetError(f"Nothing listens at {host}; `make demo` starts something that does.") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise FleetError(f"{host} can't be asked for its models: {error or type(error).__name__}.") from None
