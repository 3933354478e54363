"""`vllm-gateway demo`: simulated models, a LoRA adapter, the gateway in front, a first streamed answer."""

import asyncio
import errno
from collections.abc import Iterator, Sequence

import uvloop
from rich.console import Console
from rich.markup import escape

from gateway.config import Address, Secrets, from_urls
from gateway.control.listening import CannotListen, listen
from gateway.control.plane import ControlPlane, Loaded
from gateway.control.process import control_plane
from gateway.terminal.demo_replicas import OPTIONS, RunningReplica, running_replicas
from gateway.terminal.failures import cannot_listen
from gateway.terminal.first_answer import stream_chat
from gateway.terminal.ports import holder
from gateway.terminal.serving import front_of, log_to_stderr
from gateway.terminal.start_screen import announce, reachable
from gateway.terminal.wording import duration

LISTEN = Address("127.0.0.1", 8000)
ADMIN = Address("127.0.0.1", 9090)
MODEL = "llama-demo"
QUESTION = "What does a gateway in front of vLLM do?"
TOKENS = 60
GRACE_S = 5.0


def run_demo(*, once: bool) -> None:
    """Show everything, then serve until Ctrl-C; with `once`, end after the first answer.

    Raises:
        Failure: something of it could not be started, or the first answer failed.
    """
    log_to_stderr("warning")
    uvloop.run(_demo(Console(highlight=False), once=once))


async def _demo(console: Console, *, once: bool) -> None:
    console.print("Starting two simulated models with two replicas each, and one that embeds ...")
    listening, admin = (_free(console, wanted) for wanted in (LISTEN, ADMIN))
    async with running_replicas(OPTIONS) as replicas:
        config = from_urls(
            [replica.url for replica in replicas],
            listen=listening,
            admin=admin,
            workers=1,
            shutdown_grace=GRACE_S,
        )
        async with control_plane(Loaded(config, Secrets())) as plane:
            failure = await _present(console, plane, replicas, once=once)
    # Raised out here: what leaves the gateway's task group comes out as a group.
    if failure is not None:
        raise failure


async def _present(
    console: Console, plane: ControlPlane, replicas: Sequence[RunningReplica], *, once: bool
) -> BaseException | None:
    """Serve, and meanwhile tell; a failure to tell ends serving and is returned."""
    ready = asyncio.Event()
    serving = asyncio.create_task(plane.serve(ready.set))
    telling = asyncio.create_task(_tell(console, plane, replicas, ready, once=once))
    await asyncio.wait((serving, telling), return_when=asyncio.FIRST_COMPLETED)
    failure = telling.exception() if telling.done() else None
    if once or failure is not None:
        plane.interrupt()
    await serving
    telling.cancel()
    return failure


async def _tell(
    console: Console,
    plane: ControlPlane,
    replicas: Sequence[RunningReplica],
    ready: asyncio.Event,
    *,
    once: bool,
) -> None:
    await ready.wait()
    front = front_of(plane)
    announce(console, front, plane)
    console.print(f"\n[dim]you to {MODEL}:[/dim] {QUESTION}")
    console.print(f"[dim]{MODEL}:[/dim] ", end="")
    answer = await stream_chat(
        front.base_url,
        MODEL,
        QUESTION,
        TOKENS,
        lambda text: console.print(text, end="", markup=False, soft_wrap=True),
    )
    rate = answer.pieces / answer.took_s
    console.print(
        f"\n[dim]{answer.pieces} pieces in {duration(answer.took_s)} ({rate:.0f} a second), "
        f"the first after {duration(answer.first_after_s)}, from {answer.served_by}[/dim]\n",
        soft_wrap=True,
    )
    if once:
        return
    for line in _to_try(front.base_url, plane.admin, replicas):
        console.print(line, soft_wrap=True)
    log_to_stderr("info")


def _to_try(base_url: str, admin: Address, replicas: Sequence[RunningReplica]) -> Iterator[str]:
    """Lines to copy, each doing one thing."""
    chat = f"{base_url}/chat/completions -H 'Content-Type: application/json' -d"

    def ask(model: str, *, stream: bool = False) -> str:
        more = ', "stream": true' if stream else ""
        message = '"messages": [{"role": "user", "content": "Hello"}]'
        return escape(f'curl{" -N" if stream else ""} {chat} \'{{"model": "{model}", {message}{more}}}\'')

    suffix = "" if admin == ADMIN else f" --admin {admin}"
    victim = replicas[0]
    yield "[bold]Try it[/bold]"
    yield f"  [dim]all model names[/dim]\n  curl {base_url}/models"
    yield f"  [dim]the other model[/dim]\n  {ask('qwen-demo')}"
    yield f"  [dim]streamed[/dim]\n  {ask('qwen-demo', stream=True)}"
    yield f"  [dim]a LoRA adapter, loaded on one replica only[/dim]\n  {ask('llama-demo-sql')}"
    yield f"  [dim]what Prometheus scrapes[/dim]\n  curl {reachable(admin)}/metrics"
    yield f"  [dim]who is up and who is busy[/dim]\n  vllm-gateway status{suffix}"
    yield f"  [dim]kill {victim.url}: nobody notices[/dim]\n  kill -9 {victim.pid}"
    yield f"\nStatus page: {reachable(admin)}/   Ctrl-C ends everything."


def _free(console: Console, wanted: Address) -> Address:
    """The address, or a free port when something listens there already."""
    try:
        for sock in listen(wanted):
            sock.close()
    except CannotListen as error:
        if error.errno != errno.EADDRINUSE:
            raise cannot_listen(wanted, error, "vllm-gateway serve") from None
        by = holder(wanted.port)
        used = f"{wanted} is in use by {by}" if by else f"{wanted} is in use"
        console.print(f"{used}; taking a free port instead.", markup=False, soft_wrap=True)
        return Address(wanted.host, 0)
    return wanted
