"""What a failed request proves."""

import errno
from ssl import SSLError

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from gateway.control.probes import Outcome, Target, classify
from gateway.fleet.health import Probe

KEY = ConnectionKey("10.0.0.1", 8000, False, True, None, None, None)  # noqa: FBT003


def cannot_connect(number: int) -> aiohttp.ClientConnectorError:
    return aiohttp.ClientConnectorError(KEY, OSError(number, "words"))


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (cannot_connect(errno.ECONNREFUSED), Probe.REFUSED),
        (aiohttp.ClientConnectorDNSError(KEY, OSError(-2, "Name or service not known")), Probe.REFUSED),
        (cannot_connect(errno.EHOSTUNREACH), Probe.TIMEOUT),
        (cannot_connect(errno.EMFILE), Probe.TIMEOUT),
        (aiohttp.ConnectionTimeoutError(), Probe.TIMEOUT),
        (TimeoutError(), Probe.TIMEOUT),
        (aiohttp.ServerDisconnectedError(), Probe.TIMEOUT),
        (aiohttp.ClientOSError(errno.ECONNRESET, "Connection reset by peer"), Probe.TIMEOUT),
        (aiohttp.ClientPayloadError("cut"), Probe.TIMEOUT),
        (aiohttp.ClientConnectorSSLError(KEY, SSLError(1, "wrong version")), Probe.BAD_STATUS),
        (ValueError("the answer has no end"), Probe.BAD_STATUS),
    ],
)
def test_only_a_refusal_is_a_proof_of_absence(error: Exception, verdict: Probe) -> None:
    assert classify(error).probe is verdict


def test_the_operator_is_told_in_words() -> None:
    assert classify(cannot_connect(errno.ECONNREFUSED)) == Outcome(Probe.REFUSED, "connection refused")
    assert classify(TimeoutError()).detail == "no answer in time"


def test_a_target_never_shows_its_key() -> None:
    assert repr(Target("http://a:1", "Bearer s3cret")) == "<Target http://a:1>"
