"""Ports for the parts of a stack."""

from __future__ import annotations

import socket
from pathlib import Path

from headrace_local.processes import free_port


def test_a_port_is_free_and_never_an_outgoing_connections() -> None:
    lowest = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0]
    for _ in range(200):
        port = free_port()
        assert 1024 < port < max(int(lowest), 32_768)
        with socket.create_server(("127.0.0.1", port)):
            pass


def test_a_port_is_not_the_one_that_is_taken_already() -> None:
    assert all(free_port(besides=port) != port for port in range(15_000, 15_100))
