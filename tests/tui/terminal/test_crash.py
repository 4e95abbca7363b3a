"""The report of an unexpected exception."""

from lmx_tui.terminal.crash import crash_report


def raised() -> RuntimeError:
    try:
        raise RuntimeError("it\nbroke [here]")
    except RuntimeError as error:
        return error


def test_report_is_an_error_line_and_a_hint() -> None:
    first, second = crash_report(raised(), "/home/daemon.log", debug=False).plain.splitlines()
    assert first == "error: lmx tui ended unexpectedly: RuntimeError: it broke [here]"
    assert second.startswith("hint: ") and "/home/daemon.log" in second


def test_report_has_a_traceback_with_debug() -> None:
    report = crash_report(raised(), "/home/daemon.log", debug=True).plain
    assert "Traceback" in report and "in raised" in report
