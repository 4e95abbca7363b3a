"""The worker's side of the template child, which renders the templates of model repositories."""

from collections.abc import Callable
from typing import Any

from lmx_daemon.contract.errors import LmxError, RequestError, WorkerError
from lmx_daemon.contract.text import valid_text
from lmx_daemon.worker.killable_child import Exhausted, Gone, KillableChild

PROGRAM = "lmx_daemon.worker.template_program"


class TemplateChild(KillableChild):
    """Renderer of templates. One thread calls `render`; any thread may call `kill`."""

    def __init__(self, seconds: float, memory_bytes: int, measure: Callable[[int], int] | None = None) -> None:
        super().__init__(PROGRAM, seconds, memory_bytes, measure)

    def render(self, template: str, variables: dict[str, Any]) -> str:
        """Return the rendered prompt. Raises RequestError if the template refuses, breaks or takes too much."""
        try:
            answer = self.ask({"template": template, "variables": variables})
        except Exhausted:
            raise self._over_limit() from None
        except Gone as error:
            raise ended(error) from None
        if "error" in answer:
            reason = valid_text(str(answer["error"]))
            raise RequestError(f"the model's chat template refused: {reason}", param="messages")
        return valid_text(str(answer["text"]))

    def _over_limit(self) -> RequestError:
        return RequestError(
            f"the model's chat template took more than {self._seconds:g} s or "
            f"{self._memory_bytes // 2**20} MiB to render",
            param="messages",
            hint="the template or the rendered messages are at fault",
        )


def ended(error: Gone) -> LmxError:
    """Return the error of a request whose renderer ended twice without an answer."""
    if error.from_outside:
        return WorkerError(f"the template renderer was ended from outside ({error.how})", hint="try again")
    return RequestError(f"the model's chat template ended its renderer ({error.how})", param="messages")
