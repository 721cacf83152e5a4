"""An HTTP API over TLS that takes keys, on the address of the lab's node."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.e2e.support.cluster import Cluster


class ApiServer:
    """Answers whose key it was asked with.

    accepts: whether it takes a key. account: whose keys they are. broken: whether it answers 503 to everybody. asked:
    the keys that it was asked with.
    """

    def __init__(self, url: str, ca_pem: str) -> None:
        self.url = url
        self.ca_pem = ca_pem
        self.accepts: Callable[[str], bool] = lambda _: True
        self.account = "shop"
        self.broken = False
        self.asked: list[str] = []

    def hook(self, name: str = "api", **more: Any) -> dict[str, Any]:
        """Return a hook that asks for the account."""
        equals = [{"pointer": "/account", "value": "shop"}]
        http = {"url": f"{self.url}/v1/me", "auth": "Bearer", "equals": equals, "tls": {"caBundle": self.ca_pem}}
        return {"name": name, "http": http, **more}

    def answer(self, authorization: str) -> tuple[int, bytes]:
        key = authorization.removeprefix("Bearer ")
        self.asked.append(key)
        if self.broken:
            return 503, b"{}"
        return (200, json.dumps({"account": self.account}).encode()) if self.accepts(key) else (401, b"{}")


@contextmanager
def api_server(cluster: Cluster, slot: int = 5) -> Iterator[ApiServer]:
    """Serve until the end of the block."""
    lab = cluster.lab
    assert lab is not None
    pair = lab.issue_certificate(f"api-{slot}", [lab.gateway])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    api = ApiServer(f"https://{lab.gateway}:{lab.spare_ports[slot]}", lab.ca_file.read_text())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = api.answer(self.headers.get("Authorization", ""))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer((lab.gateway, lab.spare_ports[slot]), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, name="api", daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
