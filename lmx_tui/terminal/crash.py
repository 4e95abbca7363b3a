"""The report of an unexpected exception that ends the TUI.

It has no local variables, unlike Textual's own traceback: they can hold a request's token.
"""

import traceback

from rich.text import Text

from lmx_tui.formatting import clean, one_line


def crash_report(error: BaseException, log_file: str, *, debug: bool) -> Text:
    """Return an error line and a hint, with `debug` also the traceback."""
    words = one_line(str(error))
    lines = [f"error: lmx tui ended unexpectedly: {type(error).__name__}{f': {words}' if words else ''}"]
    lines.append(f"hint: set LMX_DEBUG=1 to see where it failed; the daemon's log is {log_file}")
    if debug:
        lines += "".join(traceback.format_exception(error)).rstrip().splitlines()
    return Text("\n".join(map(clean, lines)))
