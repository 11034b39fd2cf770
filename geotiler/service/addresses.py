"""The sockets of a service, bound before anything that takes long is begun."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from geotiler.errors import OutputError

_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""A name may stand for addresses of both families, on a machine that has one of them."""


@contextmanager
def bound(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Sockets at each address that a host name stands for, closed when the block ends.

    They do not listen yet: nobody waits for a service that is still reading its models.

    Args:
        host: a name or an address.
        port: 0 takes a free one, the same at every address.

    Raises:
        OutputError: the port is taken, or may not be taken, or the address is not this machine's.
    """
    with ExitStack() as stack:
        sockets: list[socket.socket] = []
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            found = {(info[0], info[4]) for info in infos}
            for number, (family, address) in enumerate(sorted(found), 1):
                try:
                    # Named, or asyncio would not know it for TCP and let the body of an answer wait
                    # until its head is acknowledged: 40 ms.
                    kind = family, socket.SOCK_STREAM, socket.IPPROTO_TCP
                    one = stack.enter_context(socket.socket(*kind))
                    _bind(one, (address[0], port, *address[2:]))
                except OSError as error:
                    if error.errno in _NOT_HERE and (sockets or number < len(found)):
                        continue
                    raise
                sockets.append(one)
                port = one.getsockname()[1]
        except (OSError, UnicodeError) as error:
            raise _refusal(host, port, error) from None
        yield sockets


def listen(sockets: Sequence[socket.socket], backlog: int) -> None:
    """Let callers in. Raises: OutputError: another program began to listen meanwhile."""
    for one in sockets:
        try:
            one.listen(backlog)
        except OSError as error:
            host, port = one.getsockname()[:2]
            raise _refusal(host, port, error) from None


def _bind(one: socket.socket, address: tuple[object, ...]) -> None:
    if os.name == "posix":  # elsewhere it would let two programs have one port
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if one.family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    one.bind(address)


def _refusal(host: str, port: int, error: Exception) -> OutputError:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return OutputError(
            f"port {port} of {host} is in use by another program", hint="choose another --port"
        )
    if number in (errno.EACCES, errno.EPERM):
        return OutputError(
            f"port {port} of {host} may not be taken by this user",
            hint="choose a --port from 1024 on",
        )
    return OutputError(
        f"{host} is no address of this machine", hint="choose another --host, such as 127.0.0.1"
    )
