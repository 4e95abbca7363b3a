"""An HTTP proxy that ends TLS: it reaches hosts that no resolver can find, with certificates of its own CA."""

import contextlib
import socket
import ssl
import threading
from pathlib import Path

import trustme


class TlsProxy:
    """The proxy. A CONNECT to any host gets a certificate for it, and the plain bytes go to one server."""

    def __init__(self, target: tuple[str, int], folder: Path) -> None:
        self.hosts: list[str] = []
        """Hosts and ports of the tunnels, in order."""
        self._target = target
        self._authority = trustme.CA()
        self.certificates = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.certificates))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                piece = client.recv(1)
                if not piece:
                    return
                head += piece
            method, place, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
            if method != "CONNECT":
                client.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                return
            self.hosts.append(place)
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            context = self._context(place.rpartition(":")[0])
            context.sni_callback = self._choose
            with context.wrap_socket(client, server_side=True) as inside, socket.create_connection(self._target) as out:
                threading.Thread(target=_pipe, args=(out, inside), daemon=True).start()
                _pipe(inside, out)

    def _choose(self, used: ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        """Answer with a certificate for the name that the client asks for."""
        if name:
            used.context = self._context(name)

    def _context(self, name: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(name).configure_cert(context)
        return context


def _pipe(source: socket.socket, target: socket.socket) -> None:
    """Copy bytes until one side ends."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
