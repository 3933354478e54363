"""A process under the guard, as tests see it: started, waited for over HTTP, signalled, and surely ended."""

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from socket import AF_INET, SOCK_STREAM, socket
from tempfile import TemporaryDirectory
from typing import Self
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from tests.real.guard import session_members

GUARD = Path(__file__).with_name("guard.py")
POLL_S = 0.05
LOG_TAIL_LINES = 30


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 nobody listens on; all are held until all are found, so none comes twice."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket(AF_INET, SOCK_STREAM)) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def wait_until(condition: Callable[[], bool], what: str, deadline_s: float = 30.0) -> None:
    """Polls until the condition holds.

    Raises:
        TimeoutError: it did not hold within `deadline_s`; the message is `what`.
    """
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"after {deadline_s:g} s still not: {what}")
        time.sleep(POLL_S)


class GuardedProcess:
    """One server program on one port of 127.0.0.1, with its log in a file."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], port: int, log: Path) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.metrics_url = f"{self.url}/metrics"
        self.log = log
        self._command = command
        self._env = env
        self._guard: subprocess.Popen[str] | None = None
        self._scratch: TemporaryDirectory[str] | None = None
        self.pid = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url} pid {self.pid}>"

    @property
    def is_running(self) -> bool:
        """Whether any process of it lives, the first one or a child."""
        return any(self.members())

    def members(self) -> Iterator[int]:
        return session_members(self.pid) if self.pid else iter(())

    def start(self) -> Self:
        """Starts it without waiting; its log begins anew."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._scratch = TemporaryDirectory(prefix="real-")
        with self.log.open("w") as log:
            self._guard = subprocess.Popen(
                [sys.executable, str(GUARD), *self._command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "TMPDIR": self._scratch.name, **self._env},
                start_new_session=True,  # or Ctrl-C in the terminal would end the guard before its work
                text=True,
            )
        assert self._guard.stdout is not None
        self.pid = int(self._guard.stdout.readline())
        return self

    def terminate(self, deadline_s: float = 30.0) -> int:
        """Sends SIGTERM and waits.

        Returns:
            The exit status of the program.
        """
        assert self._guard is not None
        os.kill(self.pid, signal.SIGTERM)
        return self._guard.wait(deadline_s)

    def stop(self) -> None:
        """Ends every process of it at once, however it stands with them. Stopping twice is harmless."""
        if self._guard is not None:
            self._guard.communicate(timeout=30)  # closes the guard's standard input and waits for its end
            self._guard = None
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    def answers(self, path: str) -> bool:
        """Whether a GET is answered with 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of a metric that have these labels, in the program's own /metrics."""
        with urlopen(self.metrics_url, timeout=10) as response:
            text = response.read().decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def wait_ready(self, path: str = "/health", deadline_s: float = 180.0) -> None:
        """Waits for a 200 on `path`.

        Raises:
            RuntimeError: the program ended instead; the message carries the end of its log.
            TimeoutError: neither happened within `deadline_s`.
        """

        def is_decided() -> bool:
            return self.answers(path) or not self.is_running

        wait_until(is_decided, f"{self} answers {path}, see {self.log}", deadline_s)
        if not self.is_running:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
            raise RuntimeError(f"{self} ended before it was ready; the end of {self.log}:\n{tail}")


@contextmanager
def running(*processes: GuardedProcess) -> Iterator[None]:
    """Starts all at once, waits until all are ready, and stops all in the end."""
    with ExitStack() as started:
        for process in processes:
            started.callback(process.stop)
            process.start()
        for process in processes:
            process.wait_ready()
        yield
