"""Where an answer's tokens go: an event stream, or one body at the end. Carries out what breaks them."""

import orjson

from gateway.sim import errors, wire
from gateway.sim.answer import Answer, AnswerOwner, Choice, Voice
from gateway.sim.connection import Connection
from gateway.sim.faults import Faults
from gateway.sim.formats import Delta, Format, StreamFormat
from gateway.sim.params import GenerateParams
from gateway.sim.wire import chunk

_JUNK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\njunk!"


class StreamedAnswer(Answer):
    """Writes one HTTP chunk per event. The response head is the server's and long gone."""

    def __init__(
        self,
        params: GenerateParams,
        request_id: str,
        voice: Voice,
        owner: AnswerOwner,
        connection: Connection,
    ) -> None:
        super().__init__(params, request_id, voice, owner)
        self._connection = connection
        self._format: StreamFormat
        self._faults: Faults
        self._pending: dict[Choice, Delta] = {}
        self._cutting = False

    def attach(self, form: Format, faults: Faults) -> None:
        """Choose the form of the events and what will go wrong."""
        self._format = form.stream(self)
        self._faults = faults

    def begin_output(self) -> None:
        opening = self._format.opening()
        if opening:
            self._connection.write(b"".join([chunk(event) for event in opening]))

    def output(self, choice: Choice, token: int, text: str) -> None:
        delta = self._pending.get(choice)
        if delta is None:
            delta = Delta(choice, [token], text, first=len(choice.ids) == 1)
        else:
            delta.ids.append(token)
            delta.text += text
        interval = self.params.stream_interval
        if interval > 1 and not delta.first and len(delta.ids) < interval and choice.finish_reason is None:
            self._pending[choice] = delta
            return
        if interval > 1:
            self._pending.pop(choice, None)
        self._send(self._format.delta(delta))

    def output_abort(self, choice: Choice) -> None:
        delta = self._pending.pop(choice, None) or Delta(choice, [], "", first=not choice.ids)
        self._send(self._format.delta(delta))

    def complete(self) -> None:
        events = self._format.closing()
        if self._faults.event_after_done:
            events = [*events, b'data: {"late":true}\n\n']
        last = b"".join([chunk(event) for event in events]) + wire.LAST_CHUNK
        self._connection.end_stream(last, after=_JUNK if self._faults.bytes_after_end else b"")

    def _send(self, events: list[bytes]) -> None:
        framed = chunk(events[0]) if len(events) == 1 else b"".join([chunk(event) for event in events])
        if self._cutting:
            cut = next((at for at, byte in enumerate(framed) if byte >= 0x80), None)  # noqa: PLR2004 - not ASCII
            if cut is not None:
                self._connection.write(framed[: cut + 1])
                self._connection.close()
                self.disconnected()
                return
        self._connection.write(framed)

    def trip(self) -> None:
        if self.trip_fault == "cut_in_character_after_tokens":
            self.trip_at = 1 << 60
            self._cutting = True
        else:
            super().trip()

    def strike(self, fault: str) -> None:
        connection = self._connection
        if fault == "reset_after_tokens":
            connection.reset()
        elif fault == "close_mid_chunk_after_tokens":
            connection.write(b'ff\r\ndata: {"id":"')
            connection.close()
        elif fault == "truncate_after_tokens":
            connection.end_stream()
        else:
            events = self._format.error(errors.ENGINE_DEAD)
            connection.end_stream(b"".join([chunk(event) for event in events]) + wire.LAST_CHUNK)


class PlainAnswer(Answer):
    """Sends one JSON body when every choice has ended."""

    def __init__(
        self,
        params: GenerateParams,
        request_id: str,
        voice: Voice,
        owner: AnswerOwner,
        connection: Connection,
    ) -> None:
        super().__init__(params, request_id, voice, owner)
        self._connection = connection
        self._form: Format
        self._faults: Faults
        self.extra_head = ""

    def attach(self, form: Format, faults: Faults) -> None:
        """Choose the form of the body and what will go wrong."""
        self._form = form
        self._faults = faults

    def output(self, choice: Choice, token: int, text: str) -> None:
        """Nothing leaves before the end; the choice keeps its own text."""

    def complete(self) -> None:
        response = wire.Response(200, orjson.dumps(self._form.body(self)))
        connection = self._connection
        connection.respond(response, extra=self.extra_head, length_delta=self._faults.content_length_delta)
        if self._faults.bytes_after_end:
            connection.write(_JUNK)

    def strike(self, fault: str) -> None:
        connection = self._connection
        if fault == "reset_after_tokens":
            connection.reset()
        elif fault == "error_event_after_tokens":
            connection.respond(errors.engine_dead().response(), extra=self.extra_head)
        elif fault in ("truncate_after_tokens", "cut_in_character_after_tokens"):
            body = orjson.dumps(self._form.body(self))
            connection.respond(wire.Response(200, body), extra=self.extra_head, length_delta=1)
        else:
            connection.close()  # close_mid_chunk: EOF without a byte
