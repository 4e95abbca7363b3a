"""Durations as clients write them."""

import pytest

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.http.dialects.durations import keep_alive_seconds


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(0, 0.0), (30, 30.0), ("90", 90.0), ("5m", 300.0), ("24h", 86400.0), ("500ms", 0.5), (-1, -1.0), ("-5m", -1.0)],
)
def test_numbers_and_units_are_seconds(given: float | str, seconds: float) -> None:
    assert keep_alive_seconds(given) == seconds


@pytest.mark.parametrize("given", ["", "soon", "5 minutes", "1d", "nan"])
def test_an_unknown_form_is_refused_by_the_field(given: str) -> None:
    with pytest.raises(RequestError) as error:
        keep_alive_seconds(given)
    assert error.value.param == "keep_alive"
