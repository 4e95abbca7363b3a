"""Permissions of a principal."""

import pytest

from lmx_daemon.contract.errors import ForbiddenError
from lmx_daemon.contract.principal import Principal


def test_priority_is_bounded_by_the_principal() -> None:
    principal = Principal(tenant="http", max_priority=3)
    assert [principal.priority(wanted) for wanted in (-99, -10, 0, 3, 10)] == [-10, -10, 0, 3, 3]


def test_missing_scope_is_an_error_that_names_it() -> None:
    principal = Principal(tenant="http", scopes=frozenset({"infer"}))
    principal.require("infer")
    with pytest.raises(ForbiddenError, match="admin"):
        principal.require("admin")
