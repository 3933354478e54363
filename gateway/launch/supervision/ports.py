"""Ports for launched servers: found free, and kept from others until the server itself listens.

A server binds seconds after it was given its port. Until then, and between two of its lives, the port is held
by a socket that is bound and does not listen: connections are refused, nobody who wants the port for himself
gets it, and the server can bind it all the same (both set SO_REUSEADDR, as uvicorn and vLLM do).
"""

import socket
from collections.abc import Iterable
from contextlib import suppress

LOOPBACK = "127.0.0.1"
LAST_PORT = 65_535


class PortInUse(OSError):
    """Another process has the port, or no port is free."""


class HeldPorts:
    """The ports of one gateway's servers. Close it when the servers have ended."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []

    def take(self, port: int) -> int:
        """Hold this port, also if connections of a former server linger on it (TIME_WAIT).

        Raises:
            PortInUse: another process listens there.
        """
        with _reusing() as probing:
            try:
                probing.bind((LOOPBACK, port))
                probing.listen()
            except OSError:
                raise PortInUse(f"port {port} is in use by another process") from None
        return self._hold(port)

    def find(self, first: int, but: Iterable[int] = ()) -> int:
        """Hold the first free port from `first` on that is not among `but`.

        Raises:
            PortInUse: there is none.
        """
        avoided = set(but)
        for port in range(first, LAST_PORT + 1):
            if port not in avoided and _is_nobodys(port):
                with suppress(PortInUse):
                    return self._hold(port)
        raise PortInUse(f"no port from {first} on is free")

    def _hold(self, port: int) -> int:
        sock = _reusing()
        try:
            sock.bind((LOOPBACK, port))
        except OSError:
            sock.close()
            raise PortInUse(f"port {port} is in use by another process") from None
        self._sockets.append(sock)
        return port

    def close(self) -> None:
        """Let all of them go."""
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()


def _reusing() -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return sock


def _is_nobodys(port: int) -> bool:
    # Without SO_REUSEADDR, which would also succeed beside the socket by which somebody else holds the port.
    with socket.socket() as probing:
        try:
            probing.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
