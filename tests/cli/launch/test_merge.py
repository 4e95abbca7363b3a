"""Merges into the configurations of agents."""

import json
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmx_cli.launch.merge import combined, merged
from lmx_daemon.contract.errors import ConfigError

PROVIDER = {"name": "lmx", "base_url": "http://127.0.0.1:1234/v1"}
TOML = {"model_providers": {"lmx": PROVIDER}}
JSON = {"provider": {"lmx": PROVIDER}}


class TestToml:
    def test_comments_and_order_of_other_values_are_kept(self) -> None:
        before = '# mine\nmodel = "other"  # keep\n\n[model_providers.other]\nname = "x"\n\n[tui]\ntheme = "dark"\n'
        after = merged("toml", before, TOML, "config.toml")
        rest = after
        for line in filter(None, before.splitlines()):
            assert line in rest
            rest = rest.partition(line)[2]
        assert tomllib.loads(after)["model_providers"] == {"other": {"name": "x"}, "lmx": PROVIDER}

    def test_a_missing_file_gets_the_values(self) -> None:
        assert tomllib.loads(merged("toml", "", TOML, "config.toml")) == TOML

    def test_a_second_merge_changes_nothing(self) -> None:
        once = merged("toml", 'model = "x"\n', TOML, "config.toml")
        assert merged("toml", once, TOML, "config.toml") == once

    @pytest.mark.parametrize(
        "before",
        [
            "model_providers = {lmx = {name = 'old', extra = 1}, b = {c = 2}}\n",
            "model_providers.other.name = 'x'\n[tui]\na = 1\n",
            "[model_providers.lmx]\nname = 'old'\n[tui]\na = 1\n[model_providers.b]\nc = 2\n",
            "[tui]\na = 1\n[model_providers]\n",
            "[[list]]\na = 1\n[[list]]\na = 2\n",
            "no_end_of_line = true",
            "a = 1\r\n[b]\r\nc = 2\r\n",
        ],
        ids=["inline", "dotted", "out of order", "empty table", "array", "no end of line", "CRLF"],
    )
    def test_other_values_are_kept_or_the_file_is_refused(self, before: str) -> None:
        try:
            after = merged("toml", before, TOML, "config.toml")
        except ConfigError as error:
            assert error.hint is not None and "[model_providers.lmx]" in error.hint
        else:
            assert tomllib.loads(after) == combined(tomllib.loads(before), TOML)

    @pytest.mark.parametrize(
        "before", ["model = ", "[a]\n[a]\n", "model_providers = 1\n", "\0", "[model_providers]\nlmx = []\n"]
    )
    def test_a_faulty_file_is_refused_with_the_text_to_paste(self, before: str) -> None:
        with pytest.raises(ConfigError, match="was not changed") as caught:
            merged("toml", before, TOML, "config.toml")
        assert caught.value.hint is not None and 'base_url = "http://127.0.0.1:1234/v1"' in caught.value.hint


class TestJson:
    def test_order_and_indentation_are_kept(self) -> None:
        before = '{\n    "z": 1,\n    "provider": {"b": {"x": [1, 2]}},\n    "a": "ü"\n}\n'
        after = merged("json", before, JSON, "opencode.json")
        assert list(json.loads(after)) == ["z", "provider", "a"]
        assert json.loads(after)["provider"] == {"b": {"x": [1, 2]}, "lmx": PROVIDER}
        assert '\n    "a": "ü"\n}\n' in after

    def test_a_file_that_has_the_values_is_unchanged(self) -> None:
        before = '{"provider":{"lmx":' + json.dumps(PROVIDER) + "}}"
        assert merged("json", before, JSON, "opencode.json") == before

    @pytest.mark.parametrize(
        "before",
        ['{"a": 1} // note', '{"a": 1,}', "[]", '{"a": 1, "a": 2}', '{"provider": []}', "{", "[" * 100_000],
        ids=["comment", "comma", "array", "key twice", "no table", "cut", "deep"],
    )
    def test_a_file_that_cannot_be_kept_is_refused_with_the_text_to_paste(self, before: str) -> None:
        with pytest.raises(ConfigError, match="was not changed") as caught:
            merged("json", before, JSON, "opencode.json")
        assert caught.value.hint is not None and '"base_url": "http://127.0.0.1:1234/v1"' in caught.value.hint

    @given(
        st.dictionaries(
            st.text(),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.text(),
                lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
                max_leaves=8,
            ),
        )
    )
    def test_every_other_value_is_kept(self, before: dict[str, object]) -> None:
        before.pop("provider", None)
        after = json.loads(merged("json", json.dumps(before), JSON, "opencode.json"))
        assert after == {**before, **JSON}
