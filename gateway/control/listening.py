"""Opening the listening sockets.

The public ones are opened once, by control, which never accepts on them; all workers inherit the same
sockets. So no connection is lost when a worker dies, and idle workers take more than busy ones.
"""

import contextlib
import os
import socket
from collections.abc import Iterator

from gateway.config import Address

BACKLOG = 4096
"""Connections that may wait to be accepted; the kernel caps it at net.core.somaxconn."""


class CannotListen(OSError):
    """An address can't be listened on. The text is one sentence; `address` and `errno` are for more."""

    def __init__(self, address: Address, error: OSError) -> None:
        # socket.create_server adds words of its own; getaddrinfo has numbers of its own, below 0.
        known = error.errno or 0
        reason = os.strerror(known) if known > 0 else error.strerror or str(error)
        super().__init__(error.errno, f"can't listen on {address}: {reason.lower()}")
        self.address = address

    def __str__(self) -> str:
        return str(self.strerror)


def listen(address: Address) -> tuple[socket.socket, ...]:
    """Sockets that listen on the address: one, or one for each IP address of a host name.

    Port 0 becomes one free port, the same on all of them.

    Raises:
        CannotListen: not one can be opened.
    """
    try:
        if not address.host:
            return (_everywhere(address.port),)
        opened: list[socket.socket] = []
        try:
            for family, host in _resolved(address.host):
                port = opened[0].getsockname()[1] if opened else address.port
                opened.append(_listen(family, (host, port)))
        except OSError:
            if not opened:
                raise
            # A name such as localhost may have an IPv6 address on a machine without IPv6.
        return tuple(opened)
    except OSError as error:
        raise CannotListen(address, error) from None


def bound_address(sockets: tuple[socket.socket, ...], asked: Address) -> Address:
    """The address with the port that the system chose."""
    return Address(asked.host, sockets[0].getsockname()[1])


def _everywhere(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):  # IPv6 may be compiled in and switched off
            return _listen(socket.AF_INET6, ("::", port), dual=True)
    return _listen(socket.AF_INET, ("0.0.0.0", port))


def _resolved(host: str) -> Iterator[tuple[socket.AddressFamily, str]]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    yield from dict.fromkeys((family, str(info[0])) for family, _, _, _, info in found)


def _listen(family: socket.AddressFamily, place: tuple[str, int], *, dual: bool = False) -> socket.socket:
    sock = socket.create_server(place, family=family, backlog=BACKLOG, dualstack_ipv6=dual)
    sock.setblocking(False)  # noqa: FBT003  (the standard library's own signature)
    return sock
