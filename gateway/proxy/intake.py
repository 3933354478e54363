"""From the bytes of a request to the pool that serves it."""

from dataclasses import dataclass

from gateway.fleet.snapshot import ModelName, ResumeMode
from gateway.proxy.body import Body
from gateway.proxy.errors import BadRequest, ModelNotFound
from gateway.proxy.head import read_head, splice_model
from gateway.proxy.headers import RequestHeaders
from gateway.proxy.live import LiveFleet, LivePool
from gateway.proxy.multipart import ModelField, boundary_of
from gateway.proxy.resume.memory import ResumeMemory
from gateway.proxy.resume.request import with_token_ids
from gateway.proxy.resume.tape import Tape
from gateway.proxy.routes import Route
from gateway.proxy.upload import Upload

_SHOWN_NAME = 256  # of an unknown name in an error; clients have sent whole prompts as model names


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request turned out to want. `body` is what goes to the replica, up to where `upload` goes on."""

    pool: LivePool
    model: ModelName
    body: bytes
    priority: int = 0
    upload: Upload | None = None
    tape: Tape | None = None


class Intake:
    """Reads just enough of a body to know its model."""

    def __init__(self, fleet: LiveFleet, memory: ResumeMemory) -> None:
        self._fleet = fleet
        self._memory = memory

    async def read(self, route: Route, headers: RequestHeaders, body: Body) -> Asked:
        """Find the model. Raises the errors of `Body`, `BadRequest` and `ModelNotFound`."""
        content_type = headers.get(b"content-type")
        if content_type is not None and content_type.lower().startswith(b"multipart/form-data"):
            return await self._read_form(content_type.decode("latin-1"), body)
        data = body.read_now()
        if data is None:
            data = await body.read()
        head = read_head(data)
        name = head.model_name
        pool, model = self._find(name)
        if name is not None and model.upstream != name:
            data = splice_model(data, model.upstream)
        tape = None
        if head.stream is True and route.resumable and pool.view.resume is ResumeMode.EXACT:
            data = with_token_ids(data)
            tape = self._memory.tape(client_asked_for_ids=head.return_token_ids is True)
        return Asked(pool, model, data, self._priority(headers, pool, head.priority), tape=tape)

    def _find(self, name: str | None) -> tuple[LivePool, ModelName]:
        found = self._fleet.find(name)
        if found is None:
            if name is None:
                raise BadRequest("The request must name a model: there are several.", param="model")
            shown = name[:_SHOWN_NAME].encode("utf-8", "replace").decode()
            raise ModelNotFound(f"The model `{shown}` does not exist.", param="model")
        return found

    def _priority(self, headers: RequestHeaders, pool: LivePool, asked: object) -> int:
        """As vLLM has it: lower values first, 0 by default. The header counts only where it is allowed."""
        header = pool.view.priority_header
        if header is not None and (value := headers.text(header.lower().encode())) is not None:
            asked = int(value) if value.lstrip("-").isdecimal() and len(value) < 10 else 0  # noqa: PLR2004
        return asked if isinstance(asked, int) else 0

    async def _read_form(self, content_type: str, body: Body) -> Asked:
        """Read up to the model field; the file that follows is never held."""
        field = ModelField(boundary_of(content_type))
        pieces = body.pieces()
        async for piece in pieces:
            if field.feed(piece):
                break
        name = field.name or None
        pool, model = self._find(name)
        beginning = field.body
        if name is not None and model.upstream != name:
            beginning = field.spliced(model.upstream)
        rest = None if body.length is None else body.length - len(field.body)
        return Asked(pool, model, beginning, upload=Upload(pieces, rest))
