"""The status tables, rendered to text."""

import re
from collections.abc import Sequence

import msgspec
from rich.console import Console

from gateway.control.admin.status import (
    DeviceStatus,
    EngineStatus,
    EventStatus,
    Latency,
    ModelStatus,
    PoolHistory,
    PoolStatus,
    ReplicaStatus,
    ServerMemory,
    Status,
    TroubleStatus,
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
    started=100.0,
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


def rendered(status: Status, history: Sequence[PoolHistory] = (), width: int = 200) -> list[str]:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(status_screen(status, history, width=width))
    return [" ".join(line.split()) for line in capture.get().splitlines()]


def test_everything_an_operator_asks_is_there() -> None:
    lines = rendered(STATUS)
    assert re.fullmatch(
        r"vllm-gateway 9\.9 \d\d:\d\d:\d\d, up 15 min, 1 of 2 workers, 1 client, snapshot 4", lines[0]
    )
    assert "chat gpt-4o 1 of 2 7 3 12.3 0.5 45 ms / 1.2 s -" in lines
    assert f"{A} chat up 1 min 7 5 2 37% chat-sql, chat-code" in lines
    assert f"{B} chat refused 1 min 7 - - - -" in lines


def test_warnings_are_shown_as_they_are_and_events_are_few() -> None:
    lines = rendered(STATUS)
    assert "! the [bold]warning[/bold]" in lines
    assert f"10 s ago ● {B} event 0" in lines
    assert sum("event" in line for line in lines) == 5


def test_a_history_adds_charts() -> None:
    columns = dict.fromkeys(PoolHistory.__struct_fields__, (0, 1)) | {"pool": "chat"}
    history = [msgspec.convert(columns, PoolHistory)]
    line = next(line for line in rendered(STATUS, history) if line.startswith("chat "))
    assert line == "chat gpt-4o 1 of 2 7 3 12.3 ▁█ 0.5 45 ms / 1.2 s ▁█ -"


def test_a_narrow_terminal_keeps_addresses_and_numbers() -> None:
    history = [
        msgspec.convert(dict.fromkeys(PoolHistory.__struct_fields__, ()) | {"pool": "chat"}, PoolHistory)
    ]
    lines = rendered(STATUS, history, width=100)
    assert "chat 1 of 2 7 3 12.3 0.5 45 ms / 1.2 s -" in lines
    assert any(line.startswith(f"{A} chat up 1 min 7 5 2 37%") for line in lines)
    assert max(map(len, lines)) <= 100


def test_an_ejection_says_how_long_it_lasts() -> None:
    ejected = msgspec.structs.replace(STATUS.replicas[0], condition="ejected", state="up", ejected_for_s=12.0)
    lines = rendered(msgspec.structs.replace(STATUS, replicas=(ejected,)))
    assert any("ejected (12 s left)" in line for line in lines)


def test_troubles_are_counted_in_words() -> None:
    troubles = (
        TroubleStatus(kind="retries", reason="stale_connection", count=3),
        TroubleStatus(kind="broken_streams", reason="", count=1),
        TroubleStatus(kind="from_a_later_release", reason="", count=2),
    )
    pool = msgspec.structs.replace(STATUS.pools[0], troubles=troubles)
    lines = rendered(msgspec.structs.replace(STATUS, pools=(pool,)))
    assert "chat: 3 retried (stale connection), 1 broken, 2 from_a_later_release" in lines


def test_planned_gpu_memory_is_shown_where_there_is_a_plan() -> None:
    server = ServerMemory(
        model="chat",
        replica=A,
        weights_bytes=15 * 2**30,
        kv_cache_bytes=2**30,
        other_bytes=2**29,
        kv_tokens=9,
    )
    device = DeviceStatus(index=0, name="L4", total_bytes=22 * 2**30, others_bytes=0, servers=(server,))
    lines = rendered(msgspec.structs.replace(STATUS, devices=(device,)))
    assert "GPU 0 L4, 22.0 GiB: chat weights 15.0, KV cache 1.0, other 0.5" in lines
