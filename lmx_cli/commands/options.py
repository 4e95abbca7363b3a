"""Options that several commands have."""

import typer

JSON = typer.Option(False, "--json", help="Print JSON.")
YES = typer.Option(False, "--yes", "-y", help="Do not ask for confirmation. Required if stdin is not a terminal.")
