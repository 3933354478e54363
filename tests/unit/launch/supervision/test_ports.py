"""Ports that are held until a server listens on them."""

import socket
from contextlib import closing

import pytest

from gateway.launch.supervision.ports import LOOPBACK, HeldPorts, PortInUse


def free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as probing:
        port: int = probing.getsockname()[1]
    return port


def listener(port: int) -> socket.socket:
    """As vLLM and uvicorn open theirs."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((LOOPBACK, port))
    sock.listen()
    return sock


def test_a_held_port_refuses_until_the_server_listens_and_again_after_it() -> None:
    with closing(HeldPorts()) as held:
        port = held.take(free_port())
        for _ in range(2):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((LOOPBACK, port))
            with closing(listener(port)), closing(socket.create_connection((LOOPBACK, port))):
                pass


def test_two_gateways_find_different_ports() -> None:
    first = free_port()
    with closing(HeldPorts()) as one, closing(HeldPorts()) as other:
        found = [held.find(first) for held in (one, other, one)]
        assert len(set(found)) == 3


def test_a_port_that_somebody_listens_on_is_not_taken() -> None:
    with closing(HeldPorts()) as held, closing(listener(free_port())) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse, match=f"port {port} is in use"):
            held.take(port)
        assert held.find(port) > port


def test_a_port_can_be_kept_out_of_the_search() -> None:
    with closing(HeldPorts()) as held:
        first = held.find(free_port())
        held.close()
        assert held.find(first, but={first}) > first


def test_a_port_with_lingering_connections_can_be_taken_again() -> None:
    with closing(HeldPorts()) as held:
        server = listener(free_port())
        port = server.getsockname()[1]
        client = socket.create_connection((LOOPBACK, port))
        accepted, _ = server.accept()
        accepted.close()  # the server's end closes first, so it stays in TIME_WAIT
        client.close()
        server.close()
        assert held.take(port) == port
