"""Asking a replica what a few token ids say: whether a stream was cut inside a character.

Only for streams that move to another replica, and of those only for the ones whose last event carried several
tokens: it may hold the beginning of a character that its text doesn't show.
"""

import asyncio

import msgspec
import orjson

from gateway.proxy.errors import ConnectFailed, UpstreamError
from gateway.proxy.headers import request_head
from gateway.proxy.lease import LiveReplica
from gateway.proxy.resume.tape import Tape

PATIENCE_S = 2.0
"""How long the replica may take: it does this without its engine, in a millisecond."""
_LOOK_BACK = 24  # more ids than any character has, so that those before it give it its context
_LONGEST_CHARACTER = 4  # bytes, and so at most as many tokens


class _Said(msgspec.Struct):
    """vLLM's answer to `/detokenize`."""

    prompt: str


class _Reply:
    """Collects one small answer (an `Exchange` of `gateway.proxy.upstream.connection`)."""

    def __init__(self) -> None:
        self.body: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._pieces: list[bytes] = []

    def received(self, data: bytes, complete: bool) -> None:  # noqa: FBT001
        """Take what one read brought."""
        self._pieces.append(data)
        if complete and not self.body.done():
            self.body.set_result(b"".join(self._pieces))

    def lost(self, reason: str) -> None:
        """The connection is gone."""
        if not self.body.done():
            self.body.set_exception(ConnectFailed(reason))

    def pause_sending(self) -> None:
        """The request is short."""

    def resume_sending(self) -> None:
        """The request is short."""


async def end_at_character(tape: Tape, replica: LiveReplica) -> bool:
    """Take the tape back to the end of a whole character. False: the replica does not say where that is."""
    ids = tape.last_ids(_LOOK_BACK)
    try:
        async with asyncio.timeout(PATIENCE_S):
            for back in range(min(len(ids), _LONGEST_CHARACTER)):
                whole = ids[: len(ids) - back]
                if not (await _text(replica, whole)).endswith("\ufffd"):
                    tape.take_back(ids[len(whole) :])
                    return True
    except (TimeoutError, UpstreamError, msgspec.DecodeError):
        pass
    return False


async def _text(replica: LiveReplica, ids: list[bytes]) -> str:
    connections = replica.connections
    body = orjson.dumps({"tokens": orjson.Fragment(b"[%b]" % b",".join(ids))})
    own = b"content-type: application/json\r\ncontent-length: %d\r\n%b" % (len(body), replica.authorization)
    head = request_head(connections.path_prefix + b"/detokenize", b"", connections.host_header, own)
    connection = await connections.connect(PATIENCE_S)
    reply = _Reply()
    try:
        connection.begin(reply, head, body)
        return msgspec.json.decode(await reply.body, type=_Said).prompt
    except BaseException:
        connection.abandon()
        raise
