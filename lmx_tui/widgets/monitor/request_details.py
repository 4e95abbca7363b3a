"""Everything that a snapshot has about one request, as text. Pure."""

from collections.abc import Iterator, Mapping

from rich.text import Text

from lmx_daemon.contract.admin.snapshot import RequestRow
from lmx_daemon.contract.units import UNKNOWN, timing
from lmx_tui.formatting import bar, clean, count, miss_reason, one_line, percent, rate

LABEL_CELLS = 10


def request_details(row: RequestRow, colors: Mapping[str, str]) -> Text:
    text = Text()
    text.append(one_line(row.id), "bold").append(f"  {row.state}\n\n", colors["accent"])
    if row.error is not None:
        text.append("! ", colors["error"]).append(f"{clean(row.error.message)}\n")
        text.append(f"{clean(row.error.hint)}\n\n" if row.error.hint else "\n", colors["muted"])
    for label, value in _facts(row):
        text.append(f"{label:<{LABEL_CELLS}}", colors["muted"]).append(f"{value}\n")
    return text


def _facts(row: RequestRow) -> Iterator[tuple[str, str]]:
    yield "model", one_line(row.model)
    if row.asked:
        yield "asked for", one_line(row.asked)
    if row.routed:
        yield "routed", one_line(row.routed)
    yield "client", one_line(" ".join(filter(None, (row.client, f"({row.tenant})" if row.tenant else "")))) or UNKNOWN
    yield "route", one_line(row.route) or UNKNOWN
    yield "age", timing(row.age)
    if row.progress is not None and row.state in ("loading", "prefill"):
        yield row.state, f"{bar(row.progress, 20)} {percent(row.progress)}"
    if row.position is not None:
        yield "queue", f"position {row.position}"
    yield "prompt", f"{count(row.prompt_tokens)} tokens"
    if row.cached_tokens is not None and row.prompt_tokens:
        share = row.cached_tokens / row.prompt_tokens
        yield "cached", f"{bar(share, 20)} {percent(share)}, {count(row.cached_tokens)} tokens"
    if row.miss:
        yield "differs", miss_reason(row.miss, row.first_difference)
    limit = f" of at most {count(row.max_tokens)}" if row.max_tokens else ""
    yield "answer", f"{count(row.completion_tokens)} tokens{limit}"
    yield "speed", f"{rate(row.rate)} tok/s"
    yield "TTFT", timing(row.first_token)
