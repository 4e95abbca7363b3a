"""Spans of one request, by OpenTelemetry's conventions for HTTP and generative AI. Imports OpenTelemetry.

POST /v1/chat/completions      the route, and the client
└─ chat org/model              model, parameters, tokens, reason of the end
   ├─ queue                    from the arrival to the start of prefill
   │  └─ load                  if the model was loaded for it
   ├─ prefill
   └─ decode
"""

from typing import Any

import msgspec
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from lmx_daemon.contract.admin.snapshot import RequestRow
from lmx_daemon.contract.generation.requests import Generate, Request
from lmx_daemon.contract.version import VERSION
from lmx_daemon.monitor.metrics.request_metrics import OPERATIONS

MAX_TEXT = 64 * 1024
"""Limit on the characters of a prompt in a trace."""


class Spans:
    """The maker of spans. It has a provider of its own and sets no global one."""

    def __init__(self, processor: SpanProcessor) -> None:
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": "lmx", "service.version": VERSION}), shutdown_on_exit=False
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("lmx", VERSION)

    def write(self, request: Request, row: RequestRow, text: bool) -> None:
        """Make the spans of a request that has ended. With `text`, they contain the messages of its prompt."""
        end = row.started_at + row.age
        http = self._begin(_http_name(row), row.started_at, _parent(request), _http_attributes(row), SpanKind.SERVER)
        answer = self._begin(_answer_name(row), row.started_at, set_span_in_context(http), _attributes(request, row))
        if text:
            answer.set_attribute("gen_ai.input.messages", msgspec.json.encode(request.prompt).decode()[:MAX_TEXT])
        self._stages(answer, row)
        for span in (answer, http):
            if row.error is not None:
                span.set_attribute("error.type", row.error.code)
                span.set_status(Status(StatusCode.ERROR, row.error.code))
            _end(span, end)

    def close(self) -> None:
        """Send the waiting spans."""
        self._provider.shutdown()

    def _stages(self, answer: Span, row: RequestRow) -> None:
        timings, start = row.timings, row.started_at
        if timings is None:
            return
        context = set_span_in_context(answer)
        queued = self._begin("queue", start, context)
        if timings.load:
            _end(self._begin("load", start, set_span_in_context(queued)), start + timings.load)
        _end(queued, start + timings.queue)
        if row.prompt_tokens is not None:
            found = {"lmx.cached_tokens": row.cached_tokens or 0, "lmx.cache_miss": row.miss}
            begun = start + timings.queue
            _end(self._begin("prefill", begun, context, found), begun + timings.prefill)
        if row.first_token is not None:
            begun = start + row.first_token
            _end(self._begin("decode", begun, context), begun + timings.decode)

    def _begin(
        self,
        name: str,
        at: float,
        context: Any,
        found: dict[str, Any] | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> Span:
        attributes = {key: value for key, value in (found or {}).items() if value not in (None, "", ())}
        return self._tracer.start_span(name, context, kind, attributes, start_time=_nanoseconds(at))


def writer_to(endpoint: str) -> Spans:
    """Return a maker whose spans are sent to `endpoint`, in batches, by a thread."""
    return Spans(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))


def _parent(request: Request) -> Any:
    """Return the context that the client's traceparent names; one without a parent if there is none."""
    return TraceContextTextMapPropagator().extract({"traceparent": request.traceparent})


def _end(span: Span, at: float) -> None:
    span.end(end_time=_nanoseconds(at))


def _nanoseconds(at: float) -> int:
    return int(at * 1e9)


def _http_name(row: RequestRow) -> str:
    return f"POST {row.route}" if row.route.startswith("/") else "admin socket"


def _http_attributes(row: RequestRow) -> dict[str, Any]:
    if not row.route.startswith("/"):
        return {"lmx.tenant": row.tenant}
    return {
        "http.request.method": "POST",
        "http.route": row.route,
        "user_agent.original": row.client,
        "lmx.tenant": row.tenant,
    }


def _answer_name(row: RequestRow) -> str:
    return f"{OPERATIONS.get(row.route, 'chat')} {row.model}"


def _attributes(request: Request, row: RequestRow) -> dict[str, Any]:
    found: dict[str, Any] = {
        "gen_ai.operation.name": OPERATIONS.get(row.route, "chat"),
        "gen_ai.provider.name": "lmx",
        "gen_ai.request.model": row.asked or row.model,
        "gen_ai.response.model": row.model,
        "gen_ai.response.id": row.id,
        "gen_ai.response.finish_reasons": (row.finish,) if row.finish else (),
        "gen_ai.usage.input_tokens": row.prompt_tokens,
        "gen_ai.usage.output_tokens": row.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": row.cached_tokens,
    }
    if isinstance(request, Generate):
        sampling = request.sampling
        found |= {
            "gen_ai.request.max_tokens": request.max_tokens,
            "gen_ai.request.temperature": sampling.temperature,
            "gen_ai.request.top_p": sampling.top_p,
            "gen_ai.request.top_k": sampling.top_k,
            "gen_ai.request.seed": sampling.seed,
            "gen_ai.request.choice.count": request.choices if request.choices > 1 else None,
        }
    return found
