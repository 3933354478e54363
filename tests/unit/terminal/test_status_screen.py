"""The status tables, rendered to text."""

from rich.console import Console

from gateway.control.admin.status import (
    EngineStatus,
    EventStatus,
    Latency,
    ModelStatus,
    PoolStatus,
    ReplicaStatus,
    Status,
    WorkerStatus,
)
from gateway.terminal.status_screen import status_screen

A, B = "http://10.0.0.1:8000", "http://10.0.0.2:8000"


def replica(url: str, condition: str, reason: str, engine: EngineStatus | None = None) -> ReplicaStatus:
    return ReplicaStatus(
        url=url,
        condition=condition,
        state=condition,
        reason=reason,
        since=940.0,
        draining=False,
        ejected_for_s=0.0,
        origin="declared",
        weight=1.0,
        pools=("chat",),
        models=("chat",),
        adapters=("chat-sql", "chat-code") if url == A else (),
        outstanding=7,
        connections=1,
        requests=1,
        failures=0,
        engine=engine,
    )


STATUS = Status(
    version="9.9",
    time=1000.0,
    snapshot=4,
    models=(
        ModelStatus(name="chat", kind="model", pool="chat", upstream="chat"),
        ModelStatus(name="gpt-4o", kind="alias", pool="chat", upstream="chat"),
    ),
    pools=(
        PoolStatus(
            name="chat",
            replicas=(A, B),
            usable=1,
            outstanding=7,
            queue_depth=3,
            requests_per_s=12.34,
            server_errors_per_s=0.5,
            time_to_first_token=Latency(p50_s=0.045, p95_s=1.25),
            inter_token_latency=Latency(),
            duration=Latency(),
        ),
    ),
    replicas=(
        replica(A, "up", "HTTP 200", EngineStatus(running=5, waiting=2, kv_usage=0.371)),
        replica(B, "refused", "connection refused"),
    ),
    workers=(
        WorkerStatus(index=0, pid=4711, restarts=0, clients=1, loop_lag_s=0.0),
        WorkerStatus(index=1, pid=None, restarts=1, clients=0, loop_lag_s=0.0),
    ),
    events=tuple(
        EventStatus(time=990.0 - n, kind="ejected", model="chat", replica=B, message=f"event {n}")
        for n in range(9)
    ),
    warnings=("the [bold]warning[/bold]",),
)


def rendered(status: Status) -> list[str]:
    console = Console(width=200, color_system=None)
    with console.capture() as capture:
        console.print(status_screen(status))
    return [" ".join(line.split()) for line in capture.get().splitlines()]


def test_everything_an_operator_asks_is_there() -> None:
    lines = rendered(STATUS)
    assert "vllm-gateway 9.9, 1 of 2 workers, snapshot 4" in lines
    assert "chat gpt-4o 1 of 2 7 3 12.3 0.5 45 ms / 1.2 s -" in lines
    assert f"{A} chat up 1 min 7 5 2 37% chat-sql, chat-code" in lines
    assert f"{B} chat refused (connection refused) 1 min 7 - - - -" in lines


def test_warnings_are_shown_as_they_are_and_events_are_few() -> None:
    lines = rendered(STATUS)
    assert "! the [bold]warning[/bold]" in lines
    assert f"10 s ago ejected: chat {B} event 0" in lines
    assert sum("ejected" in line for line in lines) == 5
