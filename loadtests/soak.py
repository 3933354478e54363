"""Soak: a mixed load for a million requests or half an hour; memory and descriptors must stay flat.

    python -m loadtests.soak                       # 1,000,000 requests or 30 minutes, whichever ends first
    python -m loadtests.soak --minutes 1           # a quick check
    python -m loadtests.soak --replicas native     # the bench's C replicas: more requests, plainer answers

Starts two simulated replicas and the gateway as a user does, and loads it with small requests, streams, long
prompts, clients that hang up, and requests for models nobody has. Writes .cache/bench/soak.json, which
`python -m loadtests.bench report` shows; exits 1 if something grew.
"""

import contextlib
import http.client
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import click

from loadtests.bench import native, peers, procfs
from loadtests.bench.errors import BenchError
from loadtests.bench.measure import FAILURES
from loadtests.bench.peers import CACHE, GATEWAY, Place
from loadtests.bench.processes import Program, free_ports, raise_file_limit
from loadtests.bench.scenarios import MODEL
from loadtests.bench.stage import wait_until_ready
from loadtests.slope import Sample, memory_growth

SAMPLE_S = 5.0
IDLE_S = 8.0
"""The gateway drops idle connections to replicas after 4 s: only then its descriptors tell of a leak."""
PROBES = 8
"""Connections that probes may hold at the moment of counting."""
FOLDER = CACHE / "soak"
REQUESTS_TOTAL = re.compile(r"^vllm_gateway_requests_total\{.*\} (\S+)$", re.MULTILINE)
# A prompt must not hold up the batch here: the gateway is to be loaded, not the simulation.
SIMULATED = ("--step-ms", "2", "--prefill-tok-per-s", "0")
LOADS = {
    "small": "rest --conns 12 --tokens 4",
    "streams": "stream --conns 48 --tokens 24",
    "long prompts": "rest --conns 2 --tokens 4 --body-bytes 100000",
    "hang up": "stream --conns 8 --tokens 40 --hang-up-every 2",
}


@dataclass(frozen=True, slots=True)
class Gateway:
    """The running gateway and where to ask it."""

    program: Program
    port: int
    admin_port: int

    def requests(self) -> int:
        """Requests it has counted so far."""
        return int(sum(map(float, REQUESTS_TOTAL.findall(_get(self.admin_port, "/metrics")))))

    def sample(self, began: float) -> Sample:
        pid = self.program.pid
        return Sample(
            time.monotonic() - began, self.requests(), procfs.pss_bytes(pid), procfs.open_files(pid)
        )


def _get(port: int, path: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", path)
        return connection.getresponse().read().decode()


def ask_for_nonsense(port: int, count: int) -> None:
    """A made-up model and a broken body: neither may leave a label or anything else behind."""
    for body in (f'{{"model": "no-such-model-{count}"}}', "{"):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        with contextlib.closing(connection):
            headers = {"Content-Type": "application/json", "X-Request-Id": f"soak-{count}"}
            connection.request("POST", "/v1/chat/completions", body, headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status not in {400, 404}:
                raise BenchError(f"a nonsensical request was answered with {answer.status}")


@contextlib.contextmanager
def start(kind: Literal["sim", "native"], workers: int) -> Iterator[tuple[Gateway, native.NativePrograms]]:
    """Two replicas and the gateway, ready."""
    gateway = peers.gateway(GATEWAY, workers=workers)
    if not gateway.is_installed():
        raise BenchError(f"the gateway is not installed: {gateway.how_to_install()}")
    programs = native.build(CACHE)
    port, admin_port, first, second = free_ports(4)
    with contextlib.ExitStack() as stack:
        for replica_port in (first, second):
            simulated = [sys.executable, "-m", "gateway.sim", "--model", MODEL, *SIMULATED]
            stand_in = [str(programs.replica), "--interval-us", "5000"]
            command = [*(simulated if kind == "sim" else stand_in), "--port", str(replica_port)]
            replica = stack.enter_context(Program(command, FOLDER / f"replica-{replica_port}.log"))
            wait_until_ready(replica_port, replica, "the replica")
        place = Place(port, admin_port, (first, second), FOLDER, workers)
        program = stack.enter_context(Program(gateway.command(place), FOLDER / "gateway.log"))
        wait_until_ready(port, program, "the gateway")
        yield Gateway(program, port, admin_port), programs


@contextlib.contextmanager
def loads(client: Path, port: int, *, stamped: bool) -> Iterator[dict[str, Program]]:
    """The load clients, until the context ends or they are told to stop."""
    with contextlib.ExitStack() as stack:
        running = {}
        for name, options in LOADS.items():
            target = ["--target", f"127.0.0.1:{port}", "--stamped", str(int(stamped)), "--timeout", "100000"]
            command = [str(client), *options.split(), "--seconds", "99999", *target]
            log = FOLDER / f"{name.replace(' ', '-')}.log"
            running[name] = stack.enter_context(Program(command, log, output=subprocess.PIPE))
        yield running


def stop_loads(running: dict[str, Program]) -> dict[str, dict[str, Any]]:
    """Let the clients finish what runs, and take their results."""
    for program in running.values():
        program.process.terminate()
    return {
        name: json.loads(program.process.communicate(timeout=120)[0]) for name, program in running.items()
    }


def soak(gateway: Gateway, limit_s: float, limit_requests: int) -> list[Sample]:
    """Sample until one of the limits is reached."""
    began = time.monotonic()
    samples: list[Sample] = []
    while not samples or (samples[-1].at_s < limit_s and samples[-1].requests < limit_requests):
        for _ in range(5):
            ask_for_nonsense(gateway.port, len(samples))
            time.sleep(SAMPLE_S / 5)
        samples.append(gateway.sample(began))
        if gateway.program.has_ended():
            raise BenchError(f"the gateway ended: {gateway.program.complaint()}")
    return samples


def summarise(
    before: Sample, samples: Sequence[Sample], after: Sample, results: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """The figures for the report, and the verdict."""
    growth = memory_growth(samples)
    failures = {name: sum(result[key] for key in FAILURES) for name, result in results.items()}
    errors = {name: f"{count}: {results[name]['first_error']}" for name, count in failures.items() if count}
    flat_files = after.open_files <= before.open_files + PROBES
    return {
        "duration": f"{samples[-1].at_s / 60:.1f} minutes",
        "requests": samples[-1].requests,
        "stream events": sum(result["events"] for result in results.values()),
        "clients that hung up": sum(result["hung_up"] for result in results.values()),
        "requests that did not end well": errors or 0,
        "memory (PSS), median": f"{growth.level / 1e6:.1f} MB",
        "memory growth per hour": f"{growth.per_hour / 1e6:+.2f} MB",
        "memory growth after the warm-up": f"{growth.over_window / 1e6:+.2f} MB",
        "memory is flat": growth.is_flat(),
        "descriptors idle before, idle after": f"{before.open_files}, {after.open_files}",
        "descriptors are flat": flat_files,
        "passed": growth.is_flat() and flat_files and not errors,
    }


@click.command()
@click.option("--minutes", default=30.0, show_default=True)
@click.option("--requests", default=1_000_000, show_default=True)
@click.option("--workers", default=2, show_default=True)
@click.option("--replicas", type=click.Choice(["sim", "native"]), default="sim", show_default=True)
@click.option("--to", default=CACHE / "soak.json", show_default=True, type=click.Path(path_type=Path))
def main(minutes: float, requests: int, workers: int, replicas: Literal["sim", "native"], to: Path) -> None:
    """Load the gateway for long, and see whether anything grows."""
    raise_file_limit()
    with start(replicas, workers) as (gateway, programs):
        time.sleep(IDLE_S)
        before = gateway.sample(time.monotonic())
        with loads(programs.client, gateway.port, stamped=replicas == "native") as running:
            samples = soak(gateway, minutes * 60, requests)
            results = stop_loads(running)
        time.sleep(IDLE_S)
        after = gateway.sample(time.monotonic())
    summary = {"replicas": replicas, "workers": workers} | summarise(before, samples, after, results)
    to.parent.mkdir(parents=True, exist_ok=True)
    content = {"summary": summary, "clients": results, "samples": [asdict(sample) for sample in samples]}
    to.write_text(json.dumps(content, indent=1))
    for key, value in summary.items():
        click.echo(f"{key:40} {value}")
    click.echo(f"written to {to}")
    if not summary["passed"]:
        sys.exit(1)


if __name__ == "__main__":
    try:
        main(standalone_mode=False)
    except (BenchError, click.ClickException) as error:
        sys.exit(f"soak: {error if isinstance(error, BenchError) else error.format_message()}")
