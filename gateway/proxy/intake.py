"""From the bytes of a request to the pool that serves it."""

from gateway.proxy.body import Body, is_form
from gateway.proxy.errors import BadRequest, ModelNotFound
from gateway.proxy.head import read_head, splice_model
from gateway.proxy.headers import RequestHeaders
from gateway.proxy.job import Job
from gateway.proxy.live import LiveFleet, LivePool
from gateway.proxy.multipart import ModelField, boundary_of
from gateway.proxy.resume.memory import ResumeMemory
from gateway.proxy.upload import Upload

_SHOWN_NAME = 256  # of an unknown name in an error; clients have sent whole prompts as model names


class Intake:
    """Reads just enough of a body to know its model."""

    def __init__(self, fleet: LiveFleet, memory: ResumeMemory) -> None:
        self._fleet = fleet
        self._memory = memory

    def take(self, job: Job, data: bytes) -> None:
        """Understand a JSON body that is all there. Raises `BadRequest` and `ModelNotFound`."""
        head = read_head(data)
        name = head.model_name
        found = self._fleet.routes.get(name) if name is not None else self._fleet.only_route
        if found is None:
            raise _unknown(name)
        pool, entry = found
        if name is not None and entry.upstream != name:
            data = splice_model(data, entry.upstream)
        # vLLM does not echo the prompt where it returns ids.
        if head.stream is True and not head.echo and job.route.resumable:
            data, job.tape = self._memory.tape_for(pool.view.resume, data, head.return_token_ids)
        if head.priority is not None or pool.view.priority_header is not None:
            job.priority = _priority(job.headers, pool, head.priority)
        job.destine(pool, entry, data)

    async def read(self, job: Job, body: Body) -> None:
        """Read the body and understand it. Raises the errors of `Body`, `BadRequest` and `ModelNotFound`."""
        if is_form(job.headers):
            await self._read_form(job, body)
        else:
            self.take(job, await body.read())

    async def _read_form(self, job: Job, body: Body) -> None:
        """Read up to the model field; the file that follows is never held."""
        content_type = job.headers.get(b"content-type") or b""
        field = ModelField(boundary_of(content_type.decode("latin-1")))
        pieces = body.pieces()
        async for piece in pieces:
            if field.feed(piece):
                break
        name = field.name or None
        found = self._fleet.routes.get(name) if name is not None else self._fleet.only_route
        if found is None:
            raise _unknown(name)
        pool, entry = found
        beginning = field.body
        if name is not None and entry.upstream != name:
            beginning = field.spliced(entry.upstream)
        rest = None if body.length is None else body.length - len(field.body)
        job.upload = Upload(pieces, rest)
        job.destine(pool, entry, beginning)


def _unknown(name: str | None) -> BadRequest | ModelNotFound:
    if name is None:
        return BadRequest("The request must name a model: there are several.", param="model")
    shown = name[:_SHOWN_NAME].encode("utf-8", "replace").decode()
    return ModelNotFound(f"The model `{shown}` does not exist.", param="model")


def _priority(headers: RequestHeaders, pool: LivePool, asked: object) -> int:
    """As vLLM has it: lower values first, 0 by default. The header counts only where it is allowed."""
    header = pool.view.priority_header
    if header is not None and (value := headers.text(header.lower().encode())) is not None:
        asked = int(value) if value.lstrip("-").isdecimal() and len(value) < 10 else 0  # noqa: PLR2004
    return asked if isinstance(asked, int) else 0
