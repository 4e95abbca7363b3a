"""The outlooks of several models for one request. It reads the state of residency and changes nothing."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from lmx_daemon.contract.errors import BusyError, LmxError
from lmx_daemon.contract.generation.requests import Request
from lmx_daemon.contract.models import Model
from lmx_daemon.memory.need import Demand
from lmx_daemon.memory.shape import ModelShape, read_shape
from lmx_daemon.residency.accounts import Accounts
from lmx_daemon.residency.decisions import own_settings
from lmx_daemon.residency.decisions.loading.loads import Loads
from lmx_daemon.residency.decisions.loading.placement import Claim, place
from lmx_daemon.residency.decisions.outlook import Outlook, placing_of
from lmx_daemon.residency.decisions.resident import Resident
from lmx_daemon.residency.decisions.residents import Residents
from lmx_daemon.residency.effects import Loop
from lmx_daemon.residency.requests.places import place_for, places
from lmx_daemon.settings.source import SettingsSource

ShapeKey = tuple[str, str | None, float]


class Outlooks:
    """The outlooks of models. Shapes of models that are not loaded are read once for each version of their files."""

    def __init__(
        self, residents: Residents, accounts: Accounts, loads: Loads, settings: SettingsSource, loop: Loop
    ) -> None:
        self._residents, self._accounts, self._loads = residents, accounts, loads
        self._settings, self._loop = settings, loop
        self._shapes: dict[ShapeKey, ModelShape | None] = {}

    async def of(self, models: Iterable[Model], request: Request | None = None) -> dict[str, Outlook]:
        """Return the outlook of each model, by id. They hold until the caller waits for anything.

        `request` is the one whose place in a queue is looked for; None for a load.
        """
        found = list(models)
        absent = [model for model in found if self._residents.serving(model) is None]
        for model in [*absent, *(each.model for each in self._announced())] if absent else []:
            if _key(model) not in self._shapes:
                self._shapes[_key(model)] = await self._loop.in_thread(partial(_shape_of, model))
        return {model.id: self._outlook(model, request) for model in found}

    def _outlook(self, model: Model, request: Request | None) -> Outlook:
        resident = self._residents.serving(model)
        if resident is not None:
            full = request is not None and self._is_full(resident, request)
            return Outlook(resident=True, size=model.size, overloaded=full)
        shape = self._shapes.get(_key(model))
        if shape is None or self._loads.refused(model) is not None:
            return Outlook(size=model.size, failing=True)
        claims = [*self._residents.claims(), *map(self._claim, self._announced())]
        return Outlook(
            size=model.size, placing=placing_of(place(self._need(model, shape), self._accounts.room(), claims))
        )

    def _is_full(self, resident: Resident, request: Request) -> bool:
        try:
            place_for(request, resident.requests.values(), places(self._settings.current))
        except BusyError:
            return True
        return False

    def _announced(self) -> list[Resident]:
        """Return the residents whose load waits for its turn. They have no claim of their own yet."""
        return [each for each in self._residents if each.phase in ("delayed", "inspecting", "placing")]

    def _claim(self, announced: Resident) -> Claim:
        shape = announced.shape or self._shapes.get(_key(announced.model))
        need = announced.model.size if shape is None else self._need(announced.model, shape, announced.demand)
        return Claim(announced.id, need)

    def _need(self, model: Model, shape: ModelShape, demand: Demand | None = None) -> int:
        own = own_settings.of_model(self._settings.current, model)
        resident = Resident(model, demand or Demand(own.context, own.parallel), None, now=self._loop.now())
        resident.shape = shape
        return self._accounts.plan_of(resident, resident.demand).bytes


def _key(model: Model) -> ShapeKey:
    return model.id, model.revision, model.modified_at


def _shape_of(model: Model) -> ModelShape | None:
    """Return the shape of a model's files; None if they are faulty."""
    try:
        return read_shape(Path(model.path))
    except (LmxError, OSError):
        return None
