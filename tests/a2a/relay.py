"""A TCP relay on a port of our choice: a database behind it is unreachable until the relay opens."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_CHUNK = 65536


@contextmanager
def relay(port: int, target: int) -> Iterator[None]:
    """Pass every connection to `port` on to `target`, both on 127.0.0.1, and cut them all at the end."""
    sockets: list[socket.socket] = []
    threads: list[threading.Thread] = []
    listener = socket.create_server(("127.0.0.1", port))

    def start(function: object, *arguments: object) -> None:
        thread = threading.Thread(target=function, args=arguments)  # type: ignore[arg-type]
        threads.append(thread)
        thread.start()

    def accept() -> None:
        with suppress(OSError):  # the listener was closed: that is how it ends
            while True:
                here, _ = listener.accept()
                there = socket.create_connection(("127.0.0.1", target))
                sockets.extend((here, there))
                start(_pump, here, there)
                start(_pump, there, here)

    start(accept)
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        threads[0].join()
        for each in sockets:
            with suppress(OSError):  # its peer has hung up already
                each.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
        for each in sockets:
            each.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):  # either side is gone
        while data := source.recv(_CHUNK):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
