"""Tests of arrays with a revision number."""

from lmx_daemon.contract.models import Model
from lmx_daemon.monitor.revised import Revised


def models(*names: str) -> list[Model]:
    return [Model(id=name, path="/m", source="hub") for name in names]


def test_the_revision_grows_when_the_array_changes_and_only_then() -> None:
    revised: Revised[Model] = Revised()
    assert revised.update([]) == () and revised.revision == 0
    first = revised.update(models("a", "b"))
    assert revised.revision == 1
    assert revised.update(models("a", "b")) is first and revised.revision == 1
    revised.update(models("b", "a"))
    assert revised.revision == 2
    revised.update([])
    assert revised.revision == 3
