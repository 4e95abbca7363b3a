"""Management on the public port: which principals may download and remove models."""

import pytest

from lmx_daemon.contract.errors import ForbiddenError
from lmx_daemon.http.guard.principals import KEY_HOLDER, KEYLESS, KEYLESS_MANAGER, OWNER


@pytest.mark.parametrize("principal", [KEY_HOLDER, KEYLESS_MANAGER, OWNER])
def test_holders_of_the_scope_may_manage(principal: object) -> None:
    principal.require("manage")  # type: ignore[attr-defined]


def test_a_client_without_a_key_may_not_manage_and_learns_how() -> None:
    with pytest.raises(ForbiddenError) as error:
        KEYLESS.require("manage")
    assert error.value.hint is not None and "manage_over_tcp" in error.value.hint


def test_no_client_of_the_public_port_has_the_scope_admin() -> None:
    for principal in (KEY_HOLDER, KEYLESS, KEYLESS_MANAGER):
        assert "admin" not in principal.scopes
