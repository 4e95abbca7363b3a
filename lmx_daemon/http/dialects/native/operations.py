"""lmx's own routes for the OpenAPI document."""

from typing import Any

from lmx_daemon.contract.admin.snapshot import Health
from lmx_daemon.http.dialects.openai_chat.answers import ErrorAnswer
from lmx_daemon.http.operation import Operation

OPERATIONS = (
    Operation(
        method="get",
        path="/health",
        name="health",
        summary="Whether the daemon and its workers make progress",
        answer=Health,
        error=Health,
        errors=(503,),
        needs_key=False,
    ),
    Operation(
        method="get",
        path="/",
        name="root",
        summary="The text by which clients of Ollama recognise a server",
        answer=str,
        answer_type="text/plain",
        error=ErrorAnswer,
        errors=(403, 421),
        needs_key=False,
    ),
    Operation(
        method="get",
        path="/openapi.json",
        name="openapi",
        summary="This document",
        answer=dict[str, Any],
        error=ErrorAnswer,
        errors=(401, 403, 421),
    ),
    Operation(
        method="get",
        path="/metrics",
        name="metrics",
        summary="Metrics in the text form of Prometheus, or of OpenMetrics by the Accept header",
        answer=str,
        answer_type="text/plain",
        error=ErrorAnswer,
        errors=(401, 403, 404, 421),
    ),
)
