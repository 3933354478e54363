"""Finding the `model` field of a `multipart/form-data` upload while the file goes through unread.

Only the part headers and the one small field are looked at (RFC 7578); the bytes are forwarded as they are.
"""

import re
from email.message import Message

from gateway.proxy.errors import BadRequest

NAME_LIMIT_BYTES = 1024
"""Longest value of the model field that is believed to be one."""
PART_HEAD_LIMIT_BYTES = 16 << 10
"""Longest headers of a part: they are searched again with every piece until they end."""

_MODEL_PART = re.compile(rb'content-disposition:[^\r\n]*[;\s]name="?model"?\s*(?:;|\r\n)', re.IGNORECASE)


def boundary_of(content_type: str) -> bytes:
    """The delimiter between parts, with its dashes. Raises `BadRequest` when there is none."""
    header = Message()
    header["content-type"] = content_type
    boundary = header.get_param("boundary")
    if not isinstance(boundary, str) or not boundary:
        raise BadRequest("The multipart body has no boundary.", param="content-type")
    return b"--" + boundary.encode("latin-1", "replace")


class ModelField:
    """Looks for the field in a body that arrives in pieces.

    `span` is where its value stands, counted from the first byte of the body, once it was found.
    """

    def __init__(self, boundary: bytes) -> None:
        self._boundary = boundary
        self._seen = bytearray()
        self._from = 0
        self.span: tuple[int, int] | None = None
        self.name: str | None = None

    def feed(self, piece: bytes) -> bool:
        """Look at the next piece; True once the field is known."""
        self._seen += piece
        while self.span is None:
            start = self._seen.find(self._boundary, self._from)
            if start < 0:
                # A boundary may lie across two pieces.
                self._from = max(self._from, len(self._seen) - len(self._boundary))
                return False
            head_end = self._seen.find(b"\r\n\r\n", start)
            if head_end < 0:
                self._from = start
                if len(self._seen) - start > PART_HEAD_LIMIT_BYTES:
                    raise BadRequest("The headers of a part of the form are too long.", param="body")
                return False
            if not _MODEL_PART.search(bytes(self._seen[start : head_end + 2])):
                self._from = head_end
                continue
            end = self._seen.find(b"\r\n" + self._boundary, head_end + 4)
            if end < 0:
                self._from = start
                if len(self._seen) - head_end > NAME_LIMIT_BYTES:
                    raise BadRequest("The model field is too long.", param="model")
                return False
            self.span = head_end + 4, end
            self.name = self._seen[head_end + 4 : end].decode("utf-8", "replace")
        return True

    @property
    def body(self) -> bytes:
        """All that was fed."""
        return bytes(self._seen)

    def spliced(self, name: str) -> bytes:
        """What was fed, with another model name in the field."""
        if self.span is None:
            raise ValueError("the field was not found")
        start, end = self.span
        return bytes(self._seen[:start]) + name.encode() + bytes(self._seen[end:])
