"""Tests of traces: spans as an exporter in memory receives them, switches, and a missing package."""

import logging
import threading

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from lmx_daemon.contract.admin.snapshot import RequestRow
from lmx_daemon.contract.errors import ErrorBody
from lmx_daemon.contract.generation.events import Timings
from lmx_daemon.contract.generation.requests import Chat, Generate, Message, Request, Sampling, TextPart
from lmx_daemon.monitor.traces.spans import Spans
from lmx_daemon.monitor.traces.traces import Traces
from lmx_daemon.settings.sections.traces import TraceSettings

PROMPT = Chat(messages=(Message(role="user", content=(TextPart(text="secret words"),)),))
REQUEST = Generate(
    id="r", model="org/m", prompt=PROMPT, sampling=Sampling(temperature=0.5, top_k=4), max_tokens=9,
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)  # fmt: skip
ROW = RequestRow(
    id="r",
    model="org/m",
    asked="code",
    state="finished",
    route="/v1/chat/completions",
    client="agent/1.0",
    tenant="key:k",
    started_at=1000.0,
    age=9.0,
    prompt_tokens=50,
    cached_tokens=10,
    completion_tokens=5,
    first_token=3.0,
    finish="stop",
    timings=Timings(queue=1.0, prefill=2.0, first_token=3.0, decode=4.0, load=0.5),
)


def spans_of(request: Request, row: RequestRow, text: bool = False) -> dict[str, ReadableSpan]:
    exporter = InMemorySpanExporter()
    spans = Spans(SimpleSpanProcessor(exporter))
    spans.write(request, row, text)
    spans.close()
    return {span.name: span for span in exporter.get_finished_spans()}


def seconds(span: ReadableSpan) -> tuple[float, float]:
    assert span.start_time is not None and span.end_time is not None
    return span.start_time / 1e9 - 1000.0, span.end_time / 1e9 - 1000.0


def test_a_request_has_a_span_for_each_stage() -> None:
    spans = spans_of(REQUEST, ROW)
    times = {name: seconds(span) for name, span in spans.items()}
    assert times == {
        "POST /v1/chat/completions": (0.0, 9.0), "chat org/m": (0.0, 9.0), "queue": (0.0, 1.0), "load": (0.0, 0.5),
        "prefill": (1.0, 3.0), "decode": (3.0, 7.0),
    }  # fmt: skip
    ids = {span.context.span_id: name for name, span in spans.items()}
    parents = {name: ids.get(span.parent.span_id) if span.parent else None for name, span in spans.items()}
    assert parents == {
        "POST /v1/chat/completions": None, "chat org/m": "POST /v1/chat/completions", "queue": "chat org/m",
        "load": "queue", "prefill": "chat org/m", "decode": "chat org/m",
    }  # fmt: skip


def test_spans_continue_the_trace_of_the_client() -> None:
    http = spans_of(REQUEST, ROW)["POST /v1/chat/completions"]
    assert http.kind == SpanKind.SERVER
    assert f"{http.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert http.parent is not None and f"{http.parent.span_id:016x}" == "b7ad6b7169203331"


@pytest.mark.parametrize("traceparent", ["", "nonsense", "00-0-0-0"])
def test_a_wrong_or_missing_parent_begins_a_trace(traceparent: str) -> None:
    request = Generate(id="r", model="m", prompt=PROMPT, traceparent=traceparent)
    assert spans_of(request, ROW)["POST /v1/chat/completions"].parent is None


def test_attributes_are_those_of_the_conventions_and_have_no_text() -> None:
    spans = spans_of(REQUEST, ROW)
    assert dict(spans["chat org/m"].attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "lmx",
        "gen_ai.request.model": "code",
        "gen_ai.response.model": "org/m",
        "gen_ai.response.id": "r",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 50,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 10,
        "gen_ai.request.max_tokens": 9,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_k": 4,
    }
    assert not [span for span in spans.values() if "secret words" in span.to_json()]


def test_messages_are_attributes_only_where_text_is_switched_on() -> None:
    found = spans_of(REQUEST, ROW, text=True)["chat org/m"].attributes or {}
    assert "secret words" in str(found["gen_ai.input.messages"])


def test_a_request_that_failed_before_it_began_has_an_error_and_no_later_stages() -> None:
    row = RequestRow(
        id="r", model="m", state="failed", started_at=1000.0, age=2.0, timings=Timings(queue=2.0),
        error=ErrorBody(code="deadline_exceeded", message="x"),
    )  # fmt: skip
    spans = spans_of(Generate(id="r", model="m", prompt=PROMPT), row)
    assert set(spans) == {"admin socket", "chat m", "queue"}
    assert spans["chat m"].status.status_code == StatusCode.ERROR
    assert (spans["chat m"].attributes or {})["error.type"] == "deadline_exceeded"


class Writer:
    """A writer that keeps what it gets."""

    def __init__(self, fails: bool = False) -> None:
        self.rows: list[RequestRow] = []
        self.fails = fails
        self.closed = threading.Event()

    def write(self, request: Request, row: RequestRow, text: bool) -> None:
        if self.fails:
            self.fails = False
            raise ValueError("a defect")
        self.rows.append(row)

    def close(self) -> None:
        self.closed.set()


def test_nothing_is_started_while_traces_are_switched_off() -> None:
    traces = Traces(TraceSettings, open_writer=lambda endpoint: pytest.fail("opened"))
    traces.configure()
    traces.ended(REQUEST, ROW)
    assert traces._thread is None and traces._waiting.empty()
    traces.close()


def test_traces_are_switched_on_while_the_daemon_runs_and_outlive_a_defect(caplog: pytest.LogCaptureFixture) -> None:
    settings, writer = [TraceSettings()], Writer(fails=True)
    traces = Traces(lambda: settings[0], open_writer=lambda endpoint: writer, installed=lambda: True)
    traces.configure()
    settings[0] = TraceSettings(enabled=True)
    traces.configure()
    with caplog.at_level(logging.ERROR, "lmx.traces"):
        for _ in range(3):
            traces.ended(REQUEST, ROW)
        traces.close()
    assert writer.rows == [ROW, ROW] and writer.closed.is_set() and "a trace was not made" in caplog.text


def test_without_the_packages_the_log_names_the_command_that_installs_them(caplog: pytest.LogCaptureFixture) -> None:
    traces = Traces(lambda: TraceSettings(enabled=True), installed=lambda: False)
    with caplog.at_level(logging.ERROR, "lmx.traces"):
        traces.configure()
    traces.ended(REQUEST, ROW)
    assert "pip install 'lmx[otel]'" in caplog.text and traces._waiting.empty()
    traces.close()
