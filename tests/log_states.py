"""Log lines and records of requests that tests of the TUI show."""

from lmx_daemon.contract.admin.history import RequestRecord
from lmx_daemon.contract.admin.snapshot import LogLine
from tests.screen_states import NOW, QWEN

LOG = (
    LogLine(at=NOW - 130, level="info", source="daemon", message="lmx 0.0.0 answers at http://127.0.0.1:1234"),
    LogLine(at=NOW - 120, level="info", source="library", message="5 models found in 0.04 s"),
    LogLine(at=NOW - 92, level="info", source="worker Qwen3-8B", message="loaded in 1.94 s, plan 7.0 GB"),
    LogLine(at=NOW - 70, level="debug", source="http", message="GET /v1/models 200 in 0.7 ms"),
    LogLine(
        at=NOW - 40,
        level="info",
        source="http",
        message="POST /v1/chat/completions 200: 20 + 311 tokens, 70.2 tok/s, first after 0.05 s",
        request="chat-r80",
    ),
    LogLine(at=NOW - 33, level="warning", source="memory", message="pressure is warning: 3 prefixes are dropped"),
    LogLine(
        at=NOW - 21,
        level="error",
        source="hub",
        message="GLM-4.5-Air-4bit: the Hub answered 401 [gated]",
        data={"traceback": "Traceback (most recent call last):\n  GatedError: 401"},
    ),
    LogLine(
        at=NOW - 3,
        level="info",
        source="http",
        message="POST /v1/chat/completions: 4,120 tokens, 93 % cached",
        request="tui-r81",
    ),
)
RECORDS = (
    RequestRecord(
        id="chat-r60", at=NOW - 5400, model=QWEN, outcome="failed", served_by=QWEN, route="/v1/chat/completions",
        dialect="openai_chat", tenant="http", client="aider 0.86", error="context_overflow",
        message="the prompt has 48,210 tokens, and the context 40,960", total=0.31, queue=0.01, body=True,
    ),
    RequestRecord(
        id="chat-r72", at=NOW - 900, model="auto", outcome="finished", served_by="mlx-community/Qwen3-32B-4bit",
        routed="auto: the loaded model", route="/v1/messages", dialect="anthropic", tenant="key:k3",
        client="claude-cli 2.1",
        finish="tool_calls", total=11.9, queue=6.4, load=6.1, prefill=2.1, first_token=8.6, decode=3.3,
        prompt_tokens=18_400, cached_tokens=2208, completion_tokens=103, first_difference=2214,
        miss="a time or date in the prompt changed",
    ),
    RequestRecord(
        id="chat-r80", at=NOW - 40, model=QWEN, outcome="finished", served_by=QWEN, route="/v1/chat/completions",
        dialect="openai_chat", tenant="http", client="curl/8.4", finish="stop", total=4.49, queue=0.0, prefill=0.05,
        first_token=0.05, decode=4.43, prompt_tokens=20, cached_tokens=0, completion_tokens=311,
    ),
)  # fmt: skip
