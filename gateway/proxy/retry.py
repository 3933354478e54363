"""May this attempt be repeated elsewhere? Only before the client has read a byte, and only where it is safe.

"Safe" means that the replica can't have answered: nobody listened, the connection died before any body byte,
or it said itself that it did not take the request. A 4xx is the client's and is never repeated, but for a 404
of a model: the name was found here, so the replica has lost its adapter, in a restart perhaps.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.fleet.snapshot import Retries
from gateway.proxy.outcome import Ended, Failure

_RETRIED_STATUSES = {429: "status_429", 502: "status_502", 503: "status_503"}
_RETRIED_FAILURES = {
    Failure.CLOSED: "reset",
    Failure.TRUNCATED: "reset",
    Failure.ERROR_EVENT: "engine_error",
    Failure.ABORTED: "engine_error",
    Failure.HUNG: "hung",
}
# `create_error_response` of vLLM's `_check_model`; a missing path has another body.
_NO_SUCH_MODEL = b'"type":"NotFoundError","param":"model"'
# How vLLM says that the process goes away (0.32, default and --shutdown-timeout) and that the engine died.
_GOING_AWAY = b"cannot schedule new futures after shutdown"
_ENGINE_DIED = (b"EngineCore encountered an issue", b"EngineDeadError", b"Engine core")


def retry_reason(ended: Ended, status: int, held_body: bytes) -> str | None:
    """The `reason` of a retry (a label of `retries_total`), or None where there must be none.

    Args:
        ended: how the attempt ended; the client has read nothing of it.
        status: the replica's status, 0 when there was none.
        held_body: the body of an error answer that was held back.
    """
    if ended.failure is Failure.STATUS:
        if _GOING_AWAY in held_body:
            return "draining"
        if any(text in held_body for text in _ENGINE_DIED):
            return "engine_error"
        if status == 404 and _NO_SUCH_MODEL in held_body:  # noqa: PLR2004
            return "adapter_lost"
        return _RETRIED_STATUSES.get(status)
    return None if ended.failure is None else _RETRIED_FAILURES.get(ended.failure)


def is_replica_fault(ended: Ended, status: int) -> bool:
    """Whether a failed attempt counts against the replica.

    One that is too old to continue an answer is well all the same.
    """
    if ended.failure is Failure.STATUS:
        return is_error_of_replica(status)
    return ended.failure not in {None, Failure.TOTAL_TIMEOUT, Failure.SHUTDOWN, Failure.STARTED_OVER}


def is_error_of_replica(status: int) -> bool:
    """5xx count against a replica; 4xx, 429 and 501 (not implemented) say nothing about its health."""
    return status >= 500 and status != 501  # noqa: PLR2004


class RetryBudget:
    """Keeps retries a small share of the requests, so that a dying pool isn't hammered (Envoy's budget).

    `active` are the requests under way; whoever runs one counts it.
    """

    __slots__ = ("_retrying", "active")

    def __init__(self) -> None:
        self.active = 0
        self._retrying = 0

    def may_retry(self, rules: Retries) -> bool:
        """Whether one more retry fits."""
        return self._retrying < max(rules.min_concurrent, rules.budget * self.active)

    @contextmanager
    def retrying(self) -> Iterator[None]:
        """Count a retry while it runs."""
        self._retrying += 1
        try:
            yield
        finally:
            self._retrying -= 1
