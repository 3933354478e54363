"""`vllm-gateway status`: the facts of the admin API as tables."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from gateway.control.admin.status import (
    DeviceStatus,
    EngineStatus,
    EventStatus,
    Latency,
    PoolHistory,
    PoolStatus,
    ReplicaStatus,
    ServerMemory,
    Status,
    TroubleStatus,
)
from gateway.terminal.sparkline import sparkline
from gateway.terminal.wording import ago, duration, plural

EVENTS_SHOWN = 5
EVENTS_WATCHED = 12
CHART_WIDTH = 24
"""Two minutes, as points are five seconds apart."""
WIDE = 150
"""Columns from which on there is room for charts."""
MEDIUM = 120
"""Columns below which the other names of a pool give way to its numbers."""

_GIB = 2**30
_COLOURS = {"up": "green", "refused": "red", "failing": "red", "unresponsive": "red", "ejected": "red"}
_OTHER_COLOUR = "yellow"
_GOOD_NEWS = frozenset({"replica_up", "returned", "replica_recovered", "undrain", "reload"})
_BAD_NEWS = frozenset(
    {"replica_down", "ejected", "replica_hung", "request_failed", "stream_broken", "worker_ended"}
)
_TROUBLES = {
    "broken_streams": "broken",
    "client_disconnects": "left by the client",
    "resumed_streams": "interrupted",
    "retries": "retried",
    "shed": "refused",
}


def status_screen(
    status: Status, history: Sequence[PoolHistory] = (), *, events: int = EVENTS_SHOWN, width: int = WIDE
) -> RenderableType:
    """Everything an operator asks first: pools, replicas, adapters, what is wrong, what happened.

    With a history, the pools have charts of the last two minutes, where `width` (columns) allows it.
    """
    charted = {pool.pool: pool for pool in history} if width >= WIDE else {}
    return Group(*_parts(status, charted, events, width))


def _parts(
    status: Status, history: dict[str, PoolHistory], events: int, width: int
) -> Iterator[RenderableType]:
    yield _title(status)
    for warning in status.warnings:
        yield Text(f"! {warning}", style="yellow")
    yield Text()
    yield _pools(status, history, others=width >= MEDIUM)
    yield Text()
    yield _replicas(status)
    yield from _troubles(status)
    if status.devices:
        yield Text()
        yield from map(_device, status.devices)
    if status.events:
        yield Text()
    yield from (_event(event, status.time) for event in status.events[:events])


def _title(status: Status) -> Text:
    running = sum(worker.pid is not None for worker in status.workers)
    workers = f"{running} of {plural(len(status.workers), 'worker')}"
    clients = plural(sum(worker.clients for worker in status.workers), "client")
    up = f", up {duration(max(status.time - status.started, 1.0))}" if status.started else ""
    clock = datetime.fromtimestamp(status.time).astimezone().strftime("%H:%M:%S")
    text = Text(f"vllm-gateway {status.version}", style="bold")
    text.append(f"  {clock}{up}, {workers}, {clients}, snapshot {status.snapshot}", style="dim")
    return text


# -- pools and replicas --


def _pools(status: Status, history: dict[str, PoolHistory], *, others: bool) -> Table:
    table = _table("Pool", *(["Also"] if others else []), "Usable", ">Outstanding", ">Queue", ">Requests/s")
    if history:
        table.add_column("")
    table.add_column("5xx/s", justify="right")
    table.add_column("First token\np50 / p95", justify="right")
    if history:
        table.add_column("")
    table.add_column("Between tokens\np50 / p95", justify="right")
    for pool in status.pools:
        also = [model.name for model in status.models if model.pool == pool.name and model.name != pool.name]
        points = history.get(pool.name)
        table.add_row(
            Text(pool.name, style="bold"),
            *([", ".join(also) or "-"] if others else []),
            _usable(pool, len(pool.replicas)),
            str(pool.outstanding),
            Text(str(pool.queue_depth), style="yellow" if pool.queue_depth else ""),
            f"{pool.requests_per_s:.1f}",
            *_chart(points.requests_per_s if points else (), shown=bool(history)),
            Text(f"{pool.server_errors_per_s:.1f}", style="red" if pool.server_errors_per_s else ""),
            _latency(pool.time_to_first_token),
            *_chart(points.ttft_p95_s if points else (), shown=bool(history)),
            _latency(pool.inter_token_latency),
        )
    return table


def _chart(values: Sequence[float | None], *, shown: bool) -> Iterator[Text]:
    if shown:
        yield Text(sparkline(values, CHART_WIDTH), style="blue")


def _usable(pool: PoolStatus, of: int) -> Text:
    colour = "red" if not pool.usable else "green" if pool.usable == of else "yellow"
    return Text(f"{pool.usable} of {of}", style=colour)


def _replicas(status: Status) -> Table:
    table = _table("Replica", "Pool", "State", ">Since", ">Outstanding", ">Running", ">Waiting", ">KV cache")
    table.add_column("Adapters")
    for replica in status.replicas:
        table.add_row(
            replica.url,
            ", ".join(replica.pools) or "-",
            _state(replica),
            duration(status.time - replica.since),
            str(replica.outstanding),
            *_engine(replica.engine),
            ", ".join(replica.adapters) or "-",
        )
    return table


def _table(*titles: str) -> Table:
    """A table with these columns; a title that begins with `>` is one of numbers."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", title_justify="left")
    for title in titles:
        justify: JustifyMethod = "right" if title.startswith(">") else "left"
        # An address must be whole to be copied.
        table.add_column(title.removeprefix(">"), justify=justify, no_wrap=title in {"Replica", "Pool"})
    return table


def _state(replica: ReplicaStatus) -> Text:
    word = replica.condition
    if word == "ejected":
        word += f" ({duration(replica.ejected_for_s)} left)"
    elif word not in {"up", "drained", "draining"} and replica.reason and word not in replica.reason:
        word += f" ({replica.reason})"
    return Text(word, style=_COLOURS.get(replica.condition, _OTHER_COLOUR))


def _engine(engine: EngineStatus | None) -> tuple[str, str, str]:
    if engine is None:
        return "-", "-", "-"
    return f"{engine.running:g}", f"{engine.waiting:g}", f"{engine.kv_usage:.0%}"


def _latency(latency: Latency) -> str:
    if latency.p50_s is None or latency.p95_s is None:
        return "-"
    return f"{duration(latency.p50_s)} / {duration(latency.p95_s)}"


# -- what went wrong, what happened, what the GPUs hold --


def _troubles(status: Status) -> Iterator[Text]:
    pools = [pool for pool in status.pools if pool.troubles]
    if pools:
        yield Text()
        yield Text("Last five minutes", style="dim")
    for pool in pools:
        yield Text(f"  {pool.name}: {', '.join(map(_trouble, pool.troubles))}")


def _trouble(trouble: TroubleStatus) -> str:
    words = f"{trouble.count} {_TROUBLES.get(trouble.kind, trouble.kind)}"
    return f"{words} ({trouble.reason.replace('_', ' ')})" if trouble.reason else words


def _event(event: EventStatus, now: float) -> Text:
    colour = "green" if event.kind in _GOOD_NEWS else "red" if event.kind in _BAD_NEWS else "yellow"
    text = Text(f"{ago(now - event.time):>12}  ", style="dim")
    text.append("● ", style=colour)
    text.append(" ".join(part for part in (event.replica or event.model, event.message) if part))
    return text


def _device(device: DeviceStatus) -> Text:
    taken = ", ".join(map(_server, device.servers)) or "nothing"
    return Text(f"GPU {device.index} {device.name}, {device.total_bytes / _GIB:.1f} GiB: {taken}")


def _server(server: ServerMemory) -> str:
    weights, cache, other = (
        size / _GIB for size in (server.weights_bytes, server.kv_cache_bytes, server.other_bytes)
    )
    return f"{server.model} weights {weights:.1f}, KV cache {cache:.1f}, other {other:.1f}"
