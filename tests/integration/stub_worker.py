"""A worker that speaks the channel and relays nothing: `stub_worker.py MODE CHANNEL_FD`.

`good` counts as if it had requests and tells of each picture it gets, `idle` only tells; `dead` ends at once;
`deaf` does not stop; `rude` says what no worker says; `suspicious` suspects the replica its settings name.
"""

import asyncio
import os
import socket
import sys
import time

from gateway.proxy.channel import Boot, Channel, Event, Picture, Ready, Stop, Suspect
from gateway.telemetry.layout import POOL_OFFSETS, REPLICA_OFFSETS, Layout
from gateway.telemetry.scoreboard import Scoreboard


def pretend_to_work(boot: Boot) -> None:
    layout = Layout(workers=boot.workers, pools=boot.pools, replicas=boot.replicas)
    cells = Scoreboard(boot.scoreboard_fd, layout).cells
    cells[layout.replica(boot.worker, 0) + REPLICA_OFFSETS["replica_outstanding"]] = 7
    cells[layout.replica(boot.worker, 0) + REPLICA_OFFSETS["replica_requests"]] += 1
    cells[layout.pool(boot.worker, 0) + POOL_OFFSETS["queue_depth"]] = 3


async def main(mode: str, channel_fd: int) -> None:
    channel = await Channel.open(socket.socket(fileno=channel_fd))
    boot = await channel.from_control()
    assert isinstance(boot, Boot)
    if mode != "idle":
        pretend_to_work(boot)
    if mode == "rude":
        channel._writer.write(b"\x00\x00\x00\x03abc")
        await asyncio.Event().wait()
    channel.send(Ready(pid=os.getpid()))
    if mode == "suspicious":
        channel.send(Suspect(pool="x", replica=boot.settings.access_log or "", reason="reset"))
    while (message := await channel.from_control()) is not None:
        if isinstance(message, Picture):
            tell = f"worker {boot.worker} sees {message.snapshot.number}"
            channel.send(Event(time=time.time(), kind="picture", model="", replica="", message=tell))
        if isinstance(message, Stop) and mode != "deaf":
            return


if __name__ == "__main__":
    if sys.argv[1] == "dead":
        sys.exit(3)
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
