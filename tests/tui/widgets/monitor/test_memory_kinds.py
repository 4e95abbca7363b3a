"""The bar of memory by kind."""

import msgspec

from lmx_daemon.contract.worker.messages import MemoryUse
from lmx_tui.widgets.monitor.memory_kinds import KINDS, kinds_of, kinds_text
from tests.screen_states import GB, INSTANCES

COLORS = {color: "white" for _, _, color in KINDS.values()}
MEMORY = MemoryUse(active=7 * GB, weights=4 * GB, prefix_cache=2 * GB)
ONE = msgspec.structs.replace(INSTANCES[0], memory=MEMORY, held=8 * GB)


def test_kinds_add_up_to_what_the_processes_hold() -> None:
    sums = kinds_of([ONE, ONE])
    assert sums == {"weights": 8 * GB, "values": 2 * GB, "cache": 4 * GB, "other": 2 * GB}
    assert sum(sums.values()) == 16 * GB


def test_a_model_that_reports_no_weights_is_left_out() -> None:
    silent = msgspec.structs.replace(ONE, memory=MemoryUse(), held=3 * GB)
    assert kinds_of([ONE, silent]) == kinds_of([ONE])
    assert kinds_of([silent]) == {}
    assert not kinds_text([silent], COLORS, 40)


def test_the_bar_fills_the_width_and_each_kind_is_told_apart_without_colours() -> None:
    bar, *legend = kinds_text([ONE], COLORS, 40).plain.splitlines()
    assert len(bar) == 40
    assert bar == "█" * 20 + "▒" * 5 + "░" * 10 + "·" * 5
    assert "█ weights 4.0" in legend[0]
    assert any("░ prefix cache 2.0" in line for line in legend)


def test_the_legend_fits_a_narrow_pane() -> None:
    assert all(len(line.rstrip()) <= 30 for line in kinds_text([ONE], COLORS, 30).plain.splitlines())
