"""ModelPlans: the plans of loads that the Models screen shows, asked for when the cursor rests, or for a filter."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

from textual.timer import Timer

from lmx_daemon.contract.admin.protocol import LoadRequest
from lmx_daemon.contract.admin.snapshot import Snapshot
from lmx_daemon.contract.errors import DaemonUnreachableError, ErrorBody, LmxError
from lmx_daemon.contract.models import Verdict
from lmx_tui.messages import QueryRequested, StreamRequested
from lmx_tui.screens.page import Page

REST_SECONDS = 0.3
"""Time that the cursor rests on a model before its plan is asked for."""


class ModelPlans:
    """Plans by model, as far as they were asked for since the models in memory changed."""

    def __init__(self, screen: Page, changed: Callable[[], object]) -> None:
        """Call `changed` each time plans have come."""
        self._screen, self._changed = screen, changed
        self._verdicts: dict[str, Verdict | None] = {}
        """Plan of each model that was asked for; None where the daemon has none."""
        self._instances: tuple[str, ...] = ()
        self._timer: Timer | None = None
        self._planned = ""
        """Model whose plan is being asked for at the cursor."""
        self.asking = False
        """Whether the plans of several models are being asked for."""

    @property
    def known(self) -> Mapping[str, Verdict]:
        return {model: verdict for model, verdict in self._verdicts.items() if verdict is not None}

    def forget_old(self, snapshot: Snapshot) -> None:
        """Forget the plans once other models are in memory, since they depend on the free memory."""
        present = tuple(f"{instance.id} {instance.state}" for instance in snapshot.instances)
        if present != self._instances:
            self._instances, self._verdicts = present, {}

    def ask_at_rest(self, model: str) -> None:
        """Ask for the plan of the selected model once the cursor rests on it."""
        if self._timer is not None and model == self._planned:
            return
        if self._timer is not None:
            self._timer.stop()
        self._planned = model

        def ask() -> None:
            request = LoadRequest(model=model)
            query = QueryRequested("plan", lambda client: client.plan(request), came, lambda error: None)
            self._screen.post_message(query)

        def came(verdict: Verdict) -> None:
            self._timer = None
            self._verdicts[model] = verdict
            self._changed()

        self._timer = self._screen.set_timer(REST_SECONDS, ask)

    def ask_all(self, models: Iterable[str]) -> None:
        """Ask for the plans of all `models` that have none, one after another."""
        missing = [model for model in models if model not in self._verdicts]
        if self.asking or not missing:
            return
        self.asking = True
        instances = self._instances

        async def plans(client: Any) -> AsyncIterator[tuple[str, Verdict | None]]:
            for model in missing:
                try:
                    yield model, await client.plan(LoadRequest(model=model))
                except DaemonUnreachableError:
                    raise
                except LmxError:
                    yield model, None

        def came(item: tuple[str, Verdict | None]) -> None:
            if instances == self._instances:
                self._verdicts[item[0]] = item[1]

        def ended(error: ErrorBody | None) -> None:
            self.asking = False
            if error is None:
                self._changed()

        self._screen.post_message(StreamRequested("plans", plans, came, ended))
