"""Options that several commands have, and faults in their values."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

JSON = typer.Option(False, "--json", help="Print JSON.")
YES = typer.Option(False, "--yes", "-y", help="Do not ask for confirmation. Required if stdin is not a terminal.")


@contextmanager
def usage_faults() -> Iterator[None]:
    """Report a value of the command line that cannot be right as a fault of usage, which ends with exit code 2.

    The name of something that may exist, such as a model, is not such a value.
    """
    from lmx_daemon.contract.errors import ConfigError, RequestError, UsageError

    try:
        yield
    except (ConfigError, RequestError) as error:
        if type(error) not in (ConfigError, RequestError):
            raise
        raise UsageError(error.message, hint=error.hint, param=error.param) from None
