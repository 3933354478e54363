"""What `serve` says once it serves: what was found, and where to point a client."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gateway.config import Address
from gateway.control.admin.source import ReplicaView, Source
from gateway.fleet.snapshot import Pool, State
from gateway.terminal.wording import plural


@dataclass(frozen=True, slots=True)
class Front:
    """Where the gateway ended up listening."""

    version: str
    listen: Address
    admin: Address
    workers: int

    @property
    def base_url(self) -> str:
        """What a client of the OpenAI API calls its base URL."""
        return f"{reachable(self.listen)}/v1"


def reachable(address: Address) -> str:
    """A URL by which this machine reaches the address."""
    return f"http://{Address('127.0.0.1', address.port) if address.is_wildcard else address}"


def announce(console: Console, front: Front, source: Source) -> None:
    """Print the screen on a terminal, plain lines anywhere else."""
    if console.is_terminal:
        console.print(_screen(front, source))
        return
    for line in lines(front, source):
        console.print(line, soft_wrap=True, markup=False, highlight=False)


def lines(front: Front, source: Source) -> Iterator[str]:
    """The same as the screen, one fact a line, for logs."""
    workers = plural(front.workers, "worker")
    yield f"vllm-gateway {front.version} listens on {reachable(front.listen)} with {workers}"
    yield f"admin and metrics on {reachable(front.admin)}"
    views = source.replicas()
    for pool in source.snapshot.pools.values():
        also = _also(source, pool.name)
        yield f"model {pool.name}: {_count(pool, views)}{f', also {also}' if also else ''}"
    for view in views:
        yield f"replica {view.url}: {_state(view)}{f', serves {_served(view)}' if _served(view) else ''}"
    for warning in source.warnings():
        yield f"warning: {warning}"
    yield f"clients: export OPENAI_BASE_URL={front.base_url}"


def _screen(front: Front, source: Source) -> RenderableType:
    views = source.replicas()
    models = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    for pool in source.snapshot.pools.values():
        colour = "green" if _up(pool, views) else "red"
        also = _also(source, pool.name)
        count = Text(_count(pool, views), style=colour)
        models.add_row(Text(pool.name, style="bold"), count, Text(f"also {also}" if also else ""))
    pooled = {replica.id for pool in source.snapshot.pools.values() for replica in pool.replicas}
    unwell = [view for view in views if view.state is not State.UP or view.url not in pooled]
    notes = [Text(f"{view.url} {_state(view)}", style="yellow") for view in unwell]
    notes += [Text(f"! {warning}", style="yellow") for warning in source.warnings()]
    if not source.snapshot.pools:
        notes.append(
            Text("No model yet: it appears as soon as a replica says what it serves.", style="yellow")
        )
    places = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    places.add_row("Clients", Text(f"export OPENAI_BASE_URL={front.base_url}", style="bold"))
    places.add_row("Status page", f"{reachable(front.admin)}/")
    places.add_row("Workers", f"{front.workers}, Ctrl-C stops them once their answers have ended")
    title = Text(f"vllm-gateway {front.version}", style="bold")
    return Padding(Group(title, "", models, *notes, "", places, ""), (1, 0, 0, 2))


def _also(source: Source, pool: str) -> str:
    names = [name.name for name in source.snapshot.names.values() if name.pool == pool and name.name != pool]
    return ", ".join(names)


def _up(pool: Pool, views: Sequence[ReplicaView]) -> int:
    up = {view.url for view in views if view.state is State.UP}
    return sum(replica.id in up for replica in pool.replicas)


def _count(pool: Pool, views: Sequence[ReplicaView]) -> str:
    return f"{_up(pool, views)} of {plural(len(pool.replicas), 'replica')} up"


def _state(view: ReplicaView) -> str:
    return view.state.value if view.state is State.UP or not view.reason else f"{view.state} ({view.reason})"


def _served(view: ReplicaView) -> str:
    return ", ".join((*view.models, *view.adapters))
