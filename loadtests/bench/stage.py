"""The running programs of one measurement: two replicas, a peer, the load client, each on its CPUs.

The peer has CPU 0 to itself; replicas and client share the rest. Without a peer (`direct`) the replicas take
CPU 0, so that there is one hop between CPUs there too. Everything is started fresh, and stopped on exit.
"""

import contextlib
import http.client
import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from loadtests.bench import procfs
from loadtests.bench.errors import BenchError
from loadtests.bench.native import NativePrograms
from loadtests.bench.peers import Peer, Place
from loadtests.bench.processes import Program, free_ports
from loadtests.bench.scenarios import MODEL, Scenario

START_S = 120.0
READY_ANSWERS = 8
RUNNING = f'vllm:num_requests_running{{engine="0",model_name="{MODEL}"}}'


@dataclass(frozen=True, slots=True)
class Counters:
    """What is read before and after a load; the difference is what the load cost."""

    requests: float
    events: float
    peer_s: float
    replicas_s: float
    machine: procfs.MachineTime
    own_s: float


@dataclass(frozen=True, slots=True)
class Stage:
    """The programs of one measurement, and how to load them."""

    client: Path
    folder: Path
    replicas: tuple[Program, ...]
    replica_ports: tuple[int, int]
    peer: Program | None
    peer_port: int
    load_cpus: frozenset[int] | None

    def load(self, options: list[str]) -> Program:
        """Start the load client."""
        ports = [self.peer_port] if self.peer else self.replica_ports
        targets = [part for port in ports for part in ("--target", f"127.0.0.1:{port}")]
        command = [str(self.client), *options, *targets]
        return Program(command, self.folder / "client.log", self.load_cpus, output=subprocess.PIPE)

    def counters(self) -> Counters:
        pages = [replica_metrics(port) for port in self.replica_ports]
        return Counters(
            requests=sum(page["bench:requests_total"] for page in pages),
            events=sum(page["bench:events_total"] for page in pages),
            peer_s=procfs.cpu_s(self.peer.pid) if self.peer else 0.0,
            replicas_s=sum(procfs.cpu_s(replica.pid) for replica in self.replicas),
            machine=procfs.machine_time(),
            own_s=sum(os.times()[:2]),
        )

    def check_alive(self, name: str) -> None:
        """Raise a BenchError if the peer has ended."""
        if self.peer and self.peer.has_ended():
            raise BenchError(f"{name} ended under load: {self.peer.complaint()}")

    def peer_pss_bytes(self) -> int:
        return procfs.pss_bytes(self.peer.pid) if self.peer else 0

    def running_streams(self) -> int:
        """Streams that the replicas serve now."""
        return int(sum(replica_metrics(port)[RUNNING] for port in self.replica_ports))


def cpu_split(cpus: frozenset[int]) -> tuple[frozenset[int] | None, frozenset[int] | None]:
    """The peer's CPU and those of the load; on a machine with one CPU nothing is pinned."""
    if len(cpus) < 2:
        return None, None
    first = frozenset((min(cpus),))
    return first, cpus - first


def replica_metrics(port: int) -> dict[str, float]:
    """A replica's /metrics page: name with labels → value."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def _answers(port: int) -> bool:
    """Whether a chat through this port ends well now."""
    body = json.dumps({"messages": [{"role": "user", "content": "hi"}], "model": MODEL, "max_tokens": 2})
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        with contextlib.closing(connection):
            connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            return answer.status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False


def wait_until_ready(port: int, program: Program, name: str) -> None:
    """Wait for several good answers in a row: by then a balancer has found both replicas.

    Raises:
        BenchError: the program ended, or the time did.
    """
    deadline = time.monotonic() + START_S
    in_a_row = 0
    while in_a_row < READY_ANSWERS:
        if program.has_ended():
            raise BenchError(f"{name} ended at start: {program.complaint()}")
        if time.monotonic() > deadline:
            raise BenchError(f"{name} was not ready after {START_S:.0f} s: {program.complaint()}")
        if _answers(port):
            in_a_row += 1
        else:
            in_a_row = 0
            time.sleep(0.1)


@contextlib.contextmanager
def set_up(programs: NativePrograms, cache: Path, peer: Peer, scenario: Scenario) -> Iterator[Stage]:
    """Start replicas and peer, and wait until they answer."""
    peer_cpus, load_cpus = cpu_split(frozenset(os.sched_getaffinity(0))) if scenario.pinned else (None, None)
    port, admin_port, first, second = free_ports(4)
    folder = cache / "run" / peer.name.replace("/", "_")
    with contextlib.ExitStack() as stack:
        replicas = []
        for replica_port in (first, second):
            command = [
                str(programs.replica),
                "--port",
                str(replica_port),
                "--model",
                MODEL,
                *scenario.replica,
            ]
            cpus = peer_cpus if peer.is_direct() else load_cpus
            replica = stack.enter_context(Program(command, folder / f"replica-{replica_port}.log", cpus))
            wait_until_ready(replica_port, replica, "the stand-in replica")
            replicas.append(replica)
        program = None
        if not peer.is_direct():
            place = Place(port, admin_port, (first, second), folder, peer.workers)
            program = stack.enter_context(
                Program(peer.command(place), folder / "peer.log", peer_cpus, env=peer.env)
            )
            wait_until_ready(port, program, peer.name)
        yield Stage(programs.client, folder, tuple(replicas), (first, second), program, port, load_cpus)
