"""`vllm-gateway status`: the facts of the admin API as tables."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gateway.control.admin.status import EngineStatus, Latency, ReplicaStatus, Status
from gateway.terminal.wording import ago, duration, plural

EVENTS_SHOWN = 5
_COLOURS = {"up": "green", "refused": "red", "failing": "red", "unresponsive": "red"}
_OTHER_COLOUR = "yellow"


def status_screen(status: Status) -> RenderableType:
    """Everything an operator asks first: pools, replicas, adapters, what is wrong, what happened."""
    return Group(*_parts(status))


def _parts(status: Status) -> Iterator[RenderableType]:
    running = sum(worker.pid is not None for worker in status.workers)
    workers = f"{running} of {plural(len(status.workers), 'worker')}"
    yield Text(f"vllm-gateway {status.version}, {workers}, snapshot {status.snapshot}", style="dim")
    yield _pools(status)
    yield _replicas(status)
    for warning in status.warnings:
        yield Text(f"! {warning}", style="yellow")
    for event in status.events[:EVENTS_SHOWN]:
        about = " ".join(part for part in (event.model, event.replica, event.message) if part)
        yield Text(f"{ago(status.time - event.time):>12}  {event.kind}: {about}", style="dim")


def _pools(status: Status) -> Table:
    table = _table("Pool", "Also", "Usable", ">Outstanding", ">Queue", ">Requests/s", ">5xx/s")
    table.add_column("First token\np50 / p95", justify="right")
    table.add_column("Between tokens\np50 / p95", justify="right")
    for pool in status.pools:
        also = [model.name for model in status.models if model.pool == pool.name and model.name != pool.name]
        usable = Text(f"{pool.usable} of {len(pool.replicas)}", style="green" if pool.usable else "red")
        table.add_row(
            pool.name,
            ", ".join(also) or "-",
            usable,
            str(pool.outstanding),
            str(pool.queue_depth),
            f"{pool.requests_per_s:.1f}",
            f"{pool.server_errors_per_s:.1f}",
            _latency(pool.time_to_first_token),
            _latency(pool.inter_token_latency),
        )
    return table


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
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", title_justify="left")
    for title in titles:
        table.add_column(title.removeprefix(">"), justify="right" if title.startswith(">") else "left")
    return table


def _state(replica: ReplicaStatus) -> Text:
    word = replica.condition
    if word not in {"up", "drained", "draining"} and replica.reason:
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
