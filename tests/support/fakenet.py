"""Real hosts' names on loopback: a private CA, and a proxy that leads each name to a local port."""

from __future__ import annotations

import datetime as dt
import selectors
import socket
import ssl
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


def certificate(folder: Path, *hosts: str) -> tuple[Path, ssl.SSLContext]:
    """Return the file of a new CA and a server context with a certificate of it for `hosts`."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name, name = _name("comfykiln test CA"), _name(hosts[0])
    ca = _unsigned(ca_name, ca_name, ca_key, [], ca=True).sign(ca_key, hashes.SHA256())
    leaf = _unsigned(name, ca_name, key, hosts, ca=False).sign(ca_key, hashes.SHA256())
    ca_file, chain = folder / "ca.pem", folder / "server.pem"
    ca_file.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    chain.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + leaf.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return ca_file, context


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _unsigned(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    hosts: Sequence[str],
    *,
    ca: bool,
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if hosts:
        names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
        builder = builder.add_extension(names, critical=False)
    return builder


@contextmanager
def proxy(ports: Mapping[str, int]) -> Iterator[tuple[str, list[str]]]:
    """Run a proxy that tunnels each host of `ports` to that port on loopback, refusing others.

    Yields its address and the list of hosts that were asked for and refused.
    """
    refused: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(ports, refused))
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", refused
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(ports: Mapping[str, int], refused: list[str]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:  # http.server names it so
            host = self.path.rsplit(":", 1)[0]
            if host not in ports:
                refused.append(host)
                self.send_error(403)
                return
            with socket.create_connection(("127.0.0.1", ports[host])) as inner:
                self.send_response(200)
                self.end_headers()
                _pump(self.connection, inner)

        def log_message(self, *_: object) -> None:
            """Say nothing; `refused` has what matters."""

    return Handler


def _pump(outer: socket.socket, inner: socket.socket) -> None:
    """Copy bytes both ways until one side ends."""
    with selectors.DefaultSelector() as selector:
        selector.register(outer, selectors.EVENT_READ, inner)
        selector.register(inner, selectors.EVENT_READ, outer)
        while True:
            for key, _ in selector.select():
                source = key.fileobj
                data = source.recv(1 << 16) if isinstance(source, socket.socket) else b""
                if not data:
                    return
                key.data.sendall(data)
