"""Traces of a real daemon, as a receiver of OTLP over HTTP gets them."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx2
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.end_to_end.running import Daemon

ASKED = {"model": "lmx/guide", "messages": [{"role": "user", "content": "secret words"}], "max_tokens": 2}


class Receiver(BaseHTTPRequestHandler):
    """A receiver that keeps the bodies."""

    bodies: list[bytes] = []

    def do_POST(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


def test_a_receiver_gets_the_spans_of_a_request(own_daemon: Daemon) -> None:
    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever).start()
        own_daemon.config = f'[traces]\nenabled = true\nendpoint = "http://127.0.0.1:{server.server_port}/v1/traces"\n'
        own_daemon.start()
        trace = "0af7651916cd43dd8448eb211c80319c"
        answer = httpx2.post(
            f"{own_daemon.address}/v1/chat/completions",
            json=ASKED,
            headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"},
            timeout=60,
        )
        assert answer.status_code == 200
        assert own_daemon.stop() == 0
        server.shutdown()
    received = [ExportTraceServiceRequest.FromString(body) for body in Receiver.bodies]
    spans = [
        span for each in received for kind in each.resource_spans for scope in kind.scope_spans for span in scope.spans
    ]
    names = {"POST /v1/chat/completions", "chat lmx/guide", "queue", "load", "prefill", "decode"}
    assert {span.name for span in spans} == names
    assert {span.trace_id.hex() for span in spans} == {trace}
    assert not [body for body in Receiver.bodies if b"secret words" in body]
