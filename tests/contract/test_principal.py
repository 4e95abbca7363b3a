"""Permissions of a principal."""

import pytest

from lmx_daemon.contract.errors import ForbiddenError
from lmx_daemon.contract.principal import ANY_MODEL, Principal


def test_priority_is_bounded_by_the_principal() -> None:
    principal = Principal(tenant="http", max_priority=3)
    assert [principal.priority(wanted) for wanted in (-99, -10, 0, 3, 10)] == [-10, -10, 0, 3, 3]


def test_models_are_limited_by_patterns() -> None:
    principal = Principal(tenant="key:k", models=("org/*", "lmx/guide"))
    assert [principal.allows(model) for model in ("org/a", "lmx/guide", "other/a")] == [True, True, False]
    error = principal.no_model("other/a")
    assert error.status == 404 and "'other/a'" in error.message and "org/*, lmx/guide" in (error.hint or "")
    assert ANY_MODEL.allows("other/a")


def test_missing_scope_is_an_error_that_names_it() -> None:
    principal = Principal(tenant="http", scopes=frozenset({"infer"}))
    principal.require("infer")
    with pytest.raises(ForbiddenError, match="admin"):
        principal.require("admin")
