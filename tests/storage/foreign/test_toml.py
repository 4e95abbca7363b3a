"""Tests of the bound on the length of keys in TOML texts."""

import pytest

from lmx_daemon.storage.foreign.toml import MAX_PARTS, parsed_toml


@pytest.mark.parametrize("part", ["a.", "a . ", '"a b".', "'a'."])
@pytest.mark.parametrize("form", ["x = 1\n{} = 1", "x = 1\n[{}]", "x = 1\nb = {{ {} = 1 }}"])
def test_key_of_too_many_parts_is_refused_with_its_line(part: str, form: str) -> None:
    key = part * 40_000 + "a"  # tomllib would take more than 10 GB for it
    with pytest.raises(ValueError, match=rf"more than {MAX_PARTS} parts \(at line 2, column 1\)"):
        parsed_toml(form.format(key))


def test_long_text_with_dots_is_accepted_as_a_value() -> None:
    text = "Contents " + "." * 200 + " 12\n" + "One. Two three. " * 100
    assert parsed_toml(f'system = """{text}"""')["system"] == text
