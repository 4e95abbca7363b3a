"""The reports of `lmx bench` and the folder that stores them: one JSON file for each run, named by its id.

Times are seconds, memory is bytes. This module does not know how anything is measured.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import msgspec

from lmx_daemon.contract.errors import NewerStateError, NotFoundError
from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.storage.state import read_state, write_state
from lmx_daemon.storage.versions import FAULTS, Migration, newer_state

FORMAT = 1
"""Version of the files. Its key is `format`, since `version` is that of lmx."""
MIGRATIONS: Sequence[Migration] = ()
"""Functions from the plain JSON value of each older format to that of the next one; FORMAT is their number and 1."""


class Spread(Frozen, frozen=True):
    """Percentiles of one kind of duration."""

    p50: float
    p95: float
    p99: float
    longest: float
    count: int


class Measurement(Frozen, frozen=True):
    """Figures of one test on one server: of one round, or medians over its rounds; counts are sums."""

    requests: int
    errors: int = 0
    seconds: float = 0.0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    tokens: int = 0
    """Generated, as the server counted them."""
    rate: float | None = None
    """Generated tokens per second over all streams, from the start of the first request to the end of the last one."""
    first_token: Spread | None = None
    gap: Spread | None = None
    """Seconds between two pieces of one stream, as the client received them."""
    memory: int | None = None
    """Maximum of the measured resident memory of the server; None if its processes are unknown."""
    error: str | None = None
    """Message of the first error."""


class ServerResult(Frozen, frozen=True):
    """Test on one server."""

    server: str
    median: Measurement
    rounds: tuple[Measurement, ...] = ()


class MeasuredTest(Frozen, frozen=True):
    """Row of a report: the same load on every server of the run."""

    name: str
    workload: str
    outcomes: tuple[ServerResult, ...]
    streams: int = 1
    prompt_tokens: int = 0
    """Requested length of prompts; Measurement has the count of the server."""
    answer_tokens: int = 0


class Target(Frozen, frozen=True):
    """A server that was measured."""

    name: str
    url: str
    model: str
    software: str = ""
    """Name and version as reported by the server: "lmx 0.1.0", or its Server header."""
    versions: dict[str, str] = {}
    backend: str = ""


class ClientMachine(Frozen, frozen=True):
    """Machine of the client, and of servers with a loopback address."""

    system: str
    processor: str
    cores: int
    memory: int
    python: str


class Report(Frozen, frozen=True):
    """Run of `lmx bench`."""

    id: str
    taken_at: float
    version: str
    machine: ClientMachine
    targets: tuple[Target, ...]
    tests: tuple[MeasuredTest, ...]
    rounds: int
    seed: int = 0
    temperature: float = 0.0
    notes: tuple[str, ...] = ()
    """Omitted workloads, each with its reason."""
    format: int = FORMAT


def keep_report(folder: Path, report: Report) -> Path:
    """Store a report durably, and return its path."""
    path = folder / f"{report.id}.json"
    fields = {"format": FORMAT} | msgspec.to_builtins(report)  # a default is left out, and this one will change
    write_state(path, msgspec.json.format(msgspec.json.encode(fields), indent=1))
    return path


def read_reports(folder: Path) -> list[Report]:
    """Return the stored reports, oldest first; those of a newer lmx and other files are left out."""
    found = [report for report in _stored(folder) if isinstance(report, Report)]
    return sorted(found, key=lambda report: (report.taken_at, report.id))


def newer_reports(folder: Path) -> list[NewerStateError]:
    """Return the error of each report that a newer lmx has written. Such a file stays as it is."""
    return [error for error in _stored(folder) if isinstance(error, NewerStateError)]


class _FormatHeader(msgspec.Struct):
    format: int = 1


def _stored(folder: Path) -> Iterator[Report | NewerStateError]:
    for path in sorted(folder.glob("*.json")):
        try:
            report = read_state(path, partial(_report, path))
        except NewerStateError as error:
            yield error
        else:
            if report is not None:
                yield report


def _report(file: Path, content: bytes) -> Report | None:
    """Return the report; None for JSON of another shape, which another program may have put there.

    Raises NewerStateError.
    """
    try:
        found = msgspec.json.decode(content, type=_FormatHeader).format
        if found > FORMAT:
            raise newer_state(file, found, FORMAT)
        value = msgspec.json.decode(content)
        for migration in MIGRATIONS[found - 1 :]:
            value = migration(value)
        return msgspec.convert(value, Report) if found > 0 else None
    except (msgspec.ValidationError, *FAULTS):
        return None


def find_report(reports: list[Report], name: str) -> Report:
    """Return a report by its id, by a unique prefix of its id, or by "last". Raises NotFoundError."""
    if name == "last" and reports:
        return reports[-1]
    if not reports:
        raise NotFoundError("no benchmark is kept yet", hint="run: lmx bench")
    exact = [report for report in reports if report.id == name]
    matching = exact or [report for report in reports if report.id.startswith(name)]
    if len(matching) == 1:
        return matching[0]
    what = f"{len(matching)} benchmarks begin with {name!r}" if matching else f"there is no benchmark {name!r}"
    raise NotFoundError(what, hint="see: lmx bench list")
