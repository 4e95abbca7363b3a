"""The router: the model that answers a request, found from its name, the rules and the state of the models.

Every dialect passes through it, once, before residency. It decides with resolve.py and choice.py, which are pure.
"""

from collections.abc import Callable, Sequence
from functools import partial

from lmx_daemon.contract.admin.names import AliasRow
from lmx_daemon.contract.errors import ConflictError, ModelNotFoundError, NotFoundError
from lmx_daemon.contract.generation.requests import Request
from lmx_daemon.contract.models import Model
from lmx_daemon.contract.principal import ANY_MODEL, Principal
from lmx_daemon.library.catalog.catalog import Catalog
from lmx_daemon.library.catalog.model_names import not_found
from lmx_daemon.residency.pool import Pool
from lmx_daemon.router.choice import ChosenModel, choose
from lmx_daemon.router.missing import MissingModels
from lmx_daemon.router.names import RouterNames
from lmx_daemon.router.preset_files import no_preset, usable
from lmx_daemon.router.resolve import Candidate, resolve
from lmx_daemon.router.route import Route
from lmx_daemon.settings.schema import RouterSettings
from lmx_daemon.settings.values.aliases import PRESET_PREFIX

IN_MEMORY = ("ready", "starting", "loading")
"""States of the instances that `auto` prefers."""


class Router:
    """The choice of a model for each request."""

    def __init__(
        self,
        settings: Callable[[], RouterSettings],
        names: RouterNames,
        catalog: Catalog,
        pool: Pool,
        missing: MissingModels,
    ) -> None:
        self._settings = settings
        self.names = names
        self._catalog = catalog
        self._pool = pool
        self._missing = missing

    async def route(self, request: Request, principal: Principal = ANY_MODEL) -> Route:
        """Return the route of a request. It is valid until the next `await` of the caller.

        In all methods, only the models exist that `principal` may use.

        Raise ModelNotFoundError, DownloadingError for a model whose download has begun, or the error of a preset.
        """
        if request.preset:
            await self.names.refresh()
        candidates = await self._candidates(request.model, principal)
        choice = await self._choice(request.model, candidates, principal, request)
        assert choice.candidate.model is not None
        preset = preset_named(request.preset) or choice.candidate.preset
        values = usable(preset, self.names.presets.known) if preset else None
        return Route(request.model, choice.candidate.model, choice.reason, values)

    async def model_to_load(self, name: str, principal: Principal = ANY_MODEL) -> Model:
        """Return the model that a load of `name` means. Raise ModelNotFoundError or DownloadingError."""
        choice = await self._choice(name, await self._candidates(name, principal), principal)
        assert choice.candidate.model is not None
        return choice.candidate.model

    async def find(self, name: str, principal: Principal = ANY_MODEL) -> Model:
        """Return the first installed model that a name means, whatever its state. Raise ModelNotFoundError."""
        candidates = await self._candidates(name, principal)
        for candidate in candidates:
            if candidate.model is not None:
                return candidate.model
        raise self._unknown(name, candidates, principal)

    def loaded(self, name: str, principal: Principal = ANY_MODEL) -> str:
        """Return the id of the model in memory that a name means; the name itself if it means none.

        If `principal` may not use all models, raise ModelNotFoundError instead.
        """
        instances = self._pool.instances()
        instances = [instance for instance in instances if principal.allows(instance.model)]
        if any(name in (instance.id, instance.model) for instance in instances):
            return name
        ids = {instance.model for instance in instances}
        found = next((each.name for each in self._resolved(name, principal) if each.name in ids), None)
        if found is None and principal.models:
            raise principal.no_model(name)
        return found or name

    def aliases(self, principal: Principal = ANY_MODEL) -> list[AliasRow]:
        """Return all aliases, each with the first of its models that is installed."""
        return self.names.rows(partial(self._installed, principal=principal))

    async def set_alias(self, name: str, models: tuple[str, ...]) -> AliasRow:
        """Save an alias. Raise RequestError, ConflictError for a name that is taken, or DiskError."""
        if name in self._catalog.by_id():
            raise ConflictError(f"{name} is the id of a model, which wins over an alias", hint="choose another name")
        await self.names.set_alias(name, models)
        return next(row for row in self.aliases() if row.name == name)

    def is_alias(self, name: str) -> bool:
        """Return whether a name is that of an alias. The id of a model wins over it."""
        return name not in self._catalog.by_id() and self.names.is_alias(name)

    def _installed(self, name: str, principal: Principal) -> str | None:
        return next((each.name for each in self._resolved(name, principal) if each.model is not None), None)

    def _resolved(self, name: str, principal: Principal) -> tuple[Candidate, ...]:
        installed = self._catalog.by_id()
        if (model := installed.get(name)) is not None and principal.allows(name):
            return (Candidate(name, model),)
        if principal.models:
            installed = {identity: model for identity, model in installed.items() if principal.allows(identity)}
        return resolve(name, installed, self.names.rules(), self._in_memory())

    async def _candidates(self, name: str, principal: Principal) -> tuple[Candidate, ...]:
        """Return the candidates of a name, after a scan if none of them can be used. Raise ModelNotFoundError."""
        if name not in self._catalog.by_id() and self.names.may_mean_preset(name):
            await self.names.refresh()
        try:
            candidates = self._resolved(name, principal)
            if any(each.model is not None and each.model.problem is None for each in candidates):
                return candidates
        except ModelNotFoundError:  # ambiguous, perhaps not any more
            pass
        await self._catalog.rescan()
        await self.names.refresh()
        return self._resolved(name, principal)

    async def _choice(
        self, name: str, candidates: Sequence[Candidate], principal: Principal, request: Request | None = None
    ) -> ChosenModel:
        """Return the choice among the candidates. Raise ModelNotFoundError or DownloadingError if none is installed."""
        installed = [each.model for each in candidates if each.model is not None]
        if not installed:
            if self._settings().download_missing:
                await self._missing.download([each for each in candidates if principal.allows(each.name)])
            raise self._unknown(name, candidates, principal)
        if len(candidates) == 1:
            return ChosenModel(candidates[0])
        outlooks = await self._pool.outlooks.of(installed, request)
        return choose(candidates, outlooks, self._settings().fallthrough)

    def _in_memory(self) -> list[str]:
        instances = [each for each in self._pool.instances() if each.state in IN_MEMORY]
        return [each.model for each in sorted(instances, key=lambda each: -(each.used_at or 0.0))]

    def _unknown(self, name: str, candidates: Sequence[Candidate], principal: Principal) -> NotFoundError:
        if principal.models:
            return principal.no_model(name)
        presets, preset = self.names.presets.known, name.removeprefix(PRESET_PREFIX)
        if preset != name and preset not in presets:
            return no_preset(preset, presets)
        if [each.name for each in candidates] == [name]:
            rules = self.names.rules()
            others = [f"{PRESET_PREFIX}{preset}" for preset in presets]
            return not_found(name, [*rules.aliases, *others, *self._catalog.by_id()])
        names = [each.name for each in candidates]
        if not names:  # presets and damaged files of aliases; the settings and commands refuse such aliases
            return ModelNotFoundError(
                f"{name[:200]!r} means no model: its presets and aliases name only each other",
                param="model",
                hint="`lmx preset list` and `lmx alias list` show what each of them names",
            )
        return ModelNotFoundError(
            f"{name[:200]!r} means {', '.join(names)}, and no such model is installed",
            param="model",
            hint=f"download one, as with: lmx pull {names[0]}; `lmx ls` lists the installed models",
        )


def preset_named(text: str) -> str:
    """Return the name in a request's field `preset`, without the prefix of lmx or of LM Studio."""
    return text.removeprefix(PRESET_PREFIX).removeprefix("@local:")
