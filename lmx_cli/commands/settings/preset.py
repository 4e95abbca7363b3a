"""`lmx preset`: named values for fields that requests do not set."""

import asyncio
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmx_cli.commands.options import JSON, YES, usage_faults
from lmx_cli.connect import started
from lmx_cli.output import ExitCode, Output

if TYPE_CHECKING:
    from lmx_daemon.contract.generation.preset import PresetRow

NAME = Annotated[str, typer.Argument(metavar="NAME", help="Preset, as `lmx preset list` lists it.")]
TEXTS = ("system", "model", "overflow", "tools.choice", "template.reasoning_effort")
"""Keys whose value is a text, also where it looks like a number."""
FOLDERS = ("~/.lmstudio/config-presets", "~/.cache/lm-studio/config-presets")
"""Folders in which LM Studio keeps its presets."""
MAX_BYTES = 1024 * 1024


def add(app: typer.Typer, output: Output) -> None:
    group = typer.Typer(help="List, show, change, remove or import presets.", no_args_is_help=True)
    app.add_typer(group, name="preset")

    @group.command(name="list")
    def show_all(json: bool = JSON) -> int:
        """List the presets. A request selects one with the model preset:NAME or with its field `preset`."""
        return asyncio.run(_list(output, json))

    @group.command()
    def show(name: NAME, json: bool = JSON) -> int:
        """Show the values of a preset."""
        return asyncio.run(_show(output, name, json))

    @group.command(name="set")
    def change(
        name: NAME,
        values: Annotated[
            list[str],
            typer.Argument(
                metavar="KEY=VALUE", help="Values, such as sampling.temperature=0.2 or system=@FILE. KEY= removes."
            ),
        ],
        json: bool = JSON,
    ) -> int:
        """Create or change a preset, as in: lmx preset set brief system="Be brief." max_tokens=200."""
        return asyncio.run(_set(output, name, values, json))

    @group.command()
    def rm(name: NAME, yes: bool = YES, json: bool = JSON) -> int:
        """Delete a preset. This cannot be undone."""
        return asyncio.run(_remove(output, name, yes, json))

    _add_import(group, output)


def _add_import(group: typer.Typer, output: Output) -> None:
    @group.command(name="import")
    def bring(
        paths: Annotated[
            list[Path] | None,
            typer.Argument(metavar="FILE", help="JSON files of LM Studio. Default: all of its presets."),
        ] = None,
        name: str | None = typer.Option(None, "--as", help="Name of the preset. Default: its name in LM Studio."),
        replace: bool = typer.Option(False, "--replace", help="Replace presets of the same name."),
        json: bool = JSON,
    ) -> int:
        """Import presets of LM Studio, and list the fields that lmx does not support."""
        return asyncio.run(_import(output, paths or [], name, replace, json))


async def _list(output: Output, json: bool) -> int:
    async with await started() as client:
        rows = await client.presets()
    if json:
        output.json(rows)
    elif rows:
        output.table(
            ("PRESET", "MODELS", "VALUES"),
            [(row.name, ", ".join(row.preset.models) if row.preset else "", _summary(row)) for row in rows],
            spare=("MODELS",),
            elide=("VALUES", "MODELS", "PRESET"),
        )
    else:
        output.note("there are no presets; `lmx preset set NAME KEY=VALUE` makes one")
    return ExitCode.OK


def _summary(row: "PresetRow") -> str:
    """Return the keys that a preset sets, or its problem."""
    from lmx_daemon.contract.generation.preset import tables_of

    if row.preset is None:
        return f"problem: {row.problem}"
    return ", ".join(key for key in tables_of(row.preset) if key != "model")


async def _show(output: Output, name: str, json: bool) -> int:
    from lmx_daemon.contract.errors import NotFoundError, RequestError
    from lmx_daemon.contract.generation.preset import tables_of

    async with await started() as client:
        row = next((each for each in await client.presets() if each.name == name), None)
    if row is None:
        raise NotFoundError(f"there is no preset {name!r}", hint="`lmx preset list` lists the presets")
    if json:
        output.json(row)
        return ExitCode.OK
    if row.preset is None:
        raise RequestError(f"the preset {name} cannot be used: {row.problem}", hint="correct its file, or remove it")
    for key, value in _flat(tables_of(row.preset)):
        output.paragraph(f"{key} = {value if isinstance(value, str) else _plain(value)}")
    return ExitCode.OK


def _flat(tables: dict[str, Any]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in tables.items():
        inner = value.items() if isinstance(value, dict) else None
        found += [(key, value)] if inner is None else [(f"{key}.{name}", each) for name, each in inner]
    return found


def _plain(value: Any) -> str:
    import msgspec

    return msgspec.json.encode(value).decode()


async def _set(output: Output, name: str, given: list[str], json: bool) -> int:
    from lmx_daemon.contract.generation.preset import PresetChange

    values = dict(_value_of(each) for each in given)
    async with await started() as client:
        with usage_faults():
            row = await client.change_preset(PresetChange(name=name, values=values))
    output.json(row) if json else output.text(f"preset {row.name}: {_summary(row) or 'no values'}")
    return ExitCode.OK


def _value_of(text: str) -> tuple[str, Any]:
    """Return key and value of KEY=VALUE; None for an empty value. Raises UsageError."""
    from lmx_daemon.contract.errors import UsageError

    key, sign, value = text.partition("=")
    if not (key and sign):
        raise UsageError(f"{text!r} is not KEY=VALUE", hint="as in: sampling.temperature=0.2")
    if not value:
        return key, None
    if key == "system" and value.startswith("@"):
        return key, _content(Path(value[1:]))
    if key in TEXTS and not value.startswith("["):
        return key, value
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def _content(path: Path) -> str:
    """Return the text of a file. Raises NotFoundError."""
    from lmx_daemon.contract.errors import NotFoundError
    from lmx_daemon.storage.durable import read_regular

    try:
        return read_regular(path.expanduser(), MAX_BYTES, follow=True).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise NotFoundError(f"{path} cannot be read: {reason}", hint="name a text file that you can read") from None


async def _remove(output: Output, name: str, yes: bool, json: bool) -> int:
    async with await started() as client:
        if not output.confirm(f"delete the preset {name}?", yes=yes):
            return ExitCode.ERROR
        row = await client.remove_preset(name)
    output.json(row) if json else output.text(f"deleted the preset {row.name}")
    return ExitCode.OK


async def _import(output: Output, paths: list[Path], name: str | None, replace: bool, json: bool) -> int:
    from lmx_daemon.contract.errors import LmxError, NotFoundError, UsageError
    from lmx_daemon.contract.generation.preset import PresetImport

    files = paths or [file for each in FOLDERS for file in sorted(Path(each).expanduser().glob("*.json"))]
    if not files:
        raise NotFoundError("LM Studio has no presets here", hint=f"it keeps them in {FOLDERS[0]}; name a file instead")
    if name is not None and len(files) > 1:
        raise UsageError("--as names one preset, and there are several files", hint="name one file")
    done, failed = [], 0
    async with await started() as client:
        for file in files:
            title = name or file.name.removesuffix(".json").removesuffix(".preset")
            try:
                wanted = PresetImport(text=_content(file), name=title, replace=replace)
                found = await client.import_preset(wanted)
            except LmxError as error:
                failed += 1
                output.error(LmxError(f"{file.name}: {error.message}", hint=error.hint))
                continue
            done.append(found)
            if not json:
                output.text(f"imported {found.row.name}: {_summary(found.row) or 'no values'}")
                if found.ignored:
                    output.note(f"  not supported by lmx: {', '.join(found.ignored)}")
    if json:
        output.json(done)
    return ExitCode.ERROR if failed else ExitCode.OK
