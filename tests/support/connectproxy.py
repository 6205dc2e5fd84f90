"""An HTTP proxy on loopback that tunnels (CONNECT) every host to a server of the test."""

from __future__ import annotations

import base64
import socket
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

REFUSAL = {
    "Proxy-Authenticate": "Basic realm=test",
    "Content-Length": "0",
    "Connection": "close",
}
USER, PASSWORD = "me", "s3cret-canary"


@dataclass(frozen=True)
class Proxy:
    """A running proxy: `url` has its login, `asked` are the hosts it was asked for."""

    url: str
    asked: list[str]


@contextmanager
def connect_proxy(ports: Mapping[str, int]) -> Iterator[Proxy]:
    """Run a proxy that wants a login and leads each host name to a port of this machine."""
    asked: list[str] = []
    login = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_CONNECT(self) -> None:  # http.server names it so
            host = self.path.rpartition(":")[0]
            if self.headers.get("Proxy-Authorization") != login:
                self.send_response(407)
                for name, value in REFUSAL.items():
                    self.send_header(name, value)
                self.end_headers()
            elif host not in ports:
                self.send_error(502)
            else:
                asked.append(self.path)
                self.send_response(200)
                self.end_headers()
                _tunnel(self.connection, ports[host])
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Say nothing; `asked` has it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            address = f"127.0.0.1:{server.server_address[1]}"
            yield Proxy(url=f"http://{USER}:{PASSWORD}@{address}", asked=asked)
        finally:
            server.shutdown()
            thread.join()


def _tunnel(client: socket.socket, port: int) -> None:
    """Carry bytes both ways until one side has ended."""
    with socket.create_connection(("127.0.0.1", port)) as server:
        back = Thread(target=_carry, args=(server, client), daemon=True)
        back.start()
        _carry(client, server)
        back.join()


def _carry(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
