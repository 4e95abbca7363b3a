"""The admin socket's routes for aliases and presets, one for each method of the client library."""

import asyncio
from pathlib import Path

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery

from lmx_daemon.contract.admin.defaults import RequestDefaults
from lmx_daemon.contract.admin.names import AliasChange, AliasName, AliasRow
from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.generation.preset import (
    PresetChange,
    PresetImport,
    PresetImported,
    PresetName,
    PresetRow,
    preset_name,
)
from lmx_daemon.contract.models import Model
from lmx_daemon.http.context import AnyRequest
from lmx_daemon.http.decoding import body_of
from lmx_daemon.router.defaults import defaults_of
from lmx_daemon.router.lmstudio_preset import translated
from lmx_daemon.router.router import Router, preset_named
from lmx_daemon.settings.live_config import LiveConfig
from lmx_daemon.settings.schema import ModelSettings
from lmx_daemon.storage.foreign.reading import read_object


@get("/admin/names/model")
async def named(router: NamedDependency[Router], name: FromQuery[str]) -> Model:
    """Return the installed model that a name means."""
    return await router.find(name)


@get("/admin/names/defaults")
async def defaults(
    router: NamedDependency[Router],
    config: NamedDependency[LiveConfig],
    model: FromQuery[str],
    preset: FromQuery[str] = "",
) -> RequestDefaults:
    """Return the values that requests for a model have where they set none."""
    found = await router.find(model)
    values = await asyncio.to_thread(router.names.presets.get, preset_named(preset)) if preset else None
    generation = await asyncio.to_thread(read_object, Path(found.path) / "generation_config.json")
    own = config.source.current.models.get(found.id, ModelSettings())
    return RequestDefaults(model=found.id, values=defaults_of(values, own, generation or {}))


@get("/admin/aliases")
async def aliases(router: NamedDependency[Router]) -> list[AliasRow]:
    """Return all aliases."""
    await router.names.refresh()
    return router.aliases()


@post("/admin/aliases", status_code=200)
async def set_alias(request: AnyRequest, router: NamedDependency[Router]) -> AliasRow:
    """Create or replace an alias."""
    asked = await body_of(request, AliasChange)
    return await router.set_alias(asked.name, asked.models)


@post("/admin/aliases/remove", status_code=200)
async def remove_alias(request: AnyRequest, router: NamedDependency[Router]) -> AliasRow:
    """Remove an alias, and return it."""
    name = (await body_of(request, AliasName)).name
    return AliasRow(name=name, models=await router.names.remove_alias(name))


@get("/admin/presets")
async def presets(router: NamedDependency[Router]) -> list[PresetRow]:
    """Return all presets."""
    found = await asyncio.to_thread(router.names.presets.refresh)
    return list(found.values())


@post("/admin/presets", status_code=200)
async def set_preset(request: AnyRequest, router: NamedDependency[Router]) -> PresetRow:
    """Create or change a preset."""
    asked = await body_of(request, PresetChange)
    return await asyncio.to_thread(router.names.presets.change, asked.name, asked.values)


@post("/admin/presets/remove", status_code=200)
async def remove_preset(request: AnyRequest, router: NamedDependency[Router]) -> PresetRow:
    """Remove a preset, and return it."""
    return await asyncio.to_thread(router.names.presets.remove, (await body_of(request, PresetName)).name)


@post("/admin/presets/import", status_code=200)
async def import_preset(request: AnyRequest, router: NamedDependency[Router]) -> PresetImported:
    """Write a preset of LM Studio as one of lmx."""
    asked = await body_of(request, PresetImport)
    title, preset, ignored = translated(asked.text)
    try:
        name = preset_name(asked.name or title)
    except ValueError as error:
        raise RequestError(str(error), hint="give the preset a name: --as NAME", param="name") from None
    row = await asyncio.to_thread(lambda: router.names.presets.add(name, preset, replace=asked.replace))
    return PresetImported(row=row, ignored=ignored)


ROUTES = [named, defaults, aliases, set_alias, remove_alias, presets, set_preset, remove_preset, import_preset]
