"""Ports for servers that a test starts, each given once: to nobody else in this run, nor in one beside it."""

import os
import secrets
import socket

_QUIET = range(20_000, 26_000)
"""No outgoing connection is given one of them: Linux takes those from 32768 on."""
_kept: list[socket.socket] = []


def stage_ports() -> range:
    """From which the stages of this process of the run take theirs: no other process's stages do, nor `own_port`."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    begin = 26_000 + int(worker) % 6 * 1_000
    return range(begin, begin + 1_000)


def own_port() -> int:
    """One that nobody listens on, and that is nobody else's until this process ends.

    It is kept by a UDP socket of the same number, which nothing here serves: whoever looks for a port of its own, in
    whichever process, is refused that one, though nobody may listen on it yet, or for a while.
    """
    for port in secrets.SystemRandom().sample(_QUIET, 200):
        keeping = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            keeping.bind(("127.0.0.1", port))
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
        except OSError:
            keeping.close()
            continue
        _kept.append(keeping)
        return port
    raise OSError("no free port")
