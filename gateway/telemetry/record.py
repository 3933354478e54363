"""What is known of one request when it is over: made once, in `finally`, whatever happened."""

import re

_TOKENS = re.compile(rb'"(prompt|completion)_tokens":\s*(\d+)')


class RequestRecord:
    """Filled in while the request runs. Times are seconds of the monotonic clock; 0 means it never came.

    The defaults are the class's, so that making a record costs only the fields that are known from the start.
    """

    method: str = "POST"
    model: str = ""
    adapter: str = ""
    replica: str = ""
    attempts: int = 0
    status: int = 0
    stream: bool = False
    request_bytes: int = 0
    response_bytes: int = 0
    queued_s: float = 0.0
    sent_at: float = 0.0
    first_byte_at: float = 0.0
    ended_at: float = 0.0
    tail: bytes = b""
    """The end of the answer's body, where the usage stands if there is any."""
    outcome: str = "complete"
    """`complete`, `error` (a clean error answer), `broken` (begun and cut), `client_gone`."""
    error: str = ""

    @property
    def tokens(self) -> tuple[int | None, int | None]:
        """The tokens of prompt and answer, as far as the engine told the client."""
        found = dict(_TOKENS.findall(self.tail, max(0, self.tail.rfind(b'"usage":'))))
        prompt, completion = found.get(b"prompt"), found.get(b"completion")
        return None if prompt is None else int(prompt), None if completion is None else int(completion)

    def __init__(self, request_id: str, client_address: str, path: str, received_at: float) -> None:
        self.request_id = request_id
        self.client_address = client_address
        self.path = path
        self.received_at = received_at
