"""Tests of the files of presets."""

import os
from pathlib import Path

import pytest

from lmx_daemon.contract.errors import ConflictError, DiskError, NotFoundError, RequestError
from lmx_daemon.contract.generation.preset import Preset, PresetSampling
from lmx_daemon.router.preset_files import PresetFiles


@pytest.fixture
def files(tmp_path: Path) -> PresetFiles:
    return PresetFiles(tmp_path / "presets")


def write(files: PresetFiles, name: str, text: str) -> Path:
    folder = files._folder
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def test_folder_that_is_missing_has_no_presets(files: PresetFiles) -> None:
    assert files.refresh() == {}


def test_file_is_read_again_only_after_a_change(files: PresetFiles) -> None:
    file = write(files, "review.toml", 'system = "one"')
    first = files.refresh()["review"]
    assert first.preset == Preset(system="one") and files.refresh()["review"] is first
    file.write_text('system = "second"')
    assert files.get("review").system == "second"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("system = ", "Invalid value"),
        ("sytem = 'x'", "no key 'sytem'; is system meant?"),
        ("[sampling]\ntemperature = 9", "sampling.temperature must be a number from 0 to 2, not 9"),
        ("max_tokens = 'many'", 'max_tokens must be an integer of at least 1, not "many"'),
        ("[tools]\nchoice = 'sometimes'", 'tools.choice must be "auto", "none" or "required", not "sometimes"'),
        ("[sampling.deep]\nx = 1", "no key 'sampling.deep'"),
        ("sampling = 1", "no key 'sampling'"),
    ],
)
def test_faulty_file_affects_its_preset_only(files: PresetFiles, text: str, problem: str) -> None:
    write(files, "bad.toml", text)
    write(files, "good.toml", "max_tokens = 5")
    rows = files.refresh()
    assert rows["good"].preset == Preset(max_tokens=5)
    assert rows["bad"].preset is None and problem in (rows["bad"].problem or "")
    with pytest.raises(RequestError, match="the preset bad cannot be used"):
        files.get("bad")
    with pytest.raises(ConflictError):
        files.change("bad", {"max_tokens": 1})


def test_file_that_is_not_utf8_a_folder_or_a_link_is_a_problem(files: PresetFiles, tmp_path: Path) -> None:
    write(files, "latin.toml", "").write_bytes(b'system = "\xff"')
    (files._folder / "folder.toml").mkdir()
    (tmp_path / "secret").write_text("x = 1")
    (files._folder / "link.toml").symlink_to(tmp_path / "secret")
    write(files, ".hidden.toml", "max_tokens = 1")
    rows = files.refresh()
    assert set(rows) == {"latin", "folder", "link"} and all(row.problem for row in rows.values())


def test_change_keeps_comments_and_removes_unset_keys(files: PresetFiles) -> None:
    file = write(files, "review.toml", '# mine\nsystem = "old"  # short\nmax_tokens = 5\n')
    row = files.change("review", {"system": "new", "max_tokens": None, "sampling.temperature": 0.3, "stop": ["a", "b"]})
    assert row.preset == Preset(system="new", sampling=PresetSampling(temperature=0.3), stop=("a", "b"))
    assert files.get("review") == row.preset
    text = file.read_text()
    assert "# mine" in text and "# short" in text and "max_tokens" not in text
    assert os.stat(file).st_mode & 0o777 == 0o600


def test_wrong_change_names_the_key_and_leaves_the_file(files: PresetFiles) -> None:
    file = write(files, "review.toml", "max_tokens = 5\n")
    with pytest.raises(RequestError, match=r"no key 'temperature'; is sampling.temperature meant\?"):
        files.change("review", {"temperature": 0.1})
    with pytest.raises(RequestError, match=r"sampling.temperature must be a number from 0 to 2, not 3"):
        files.change("review", {"sampling.temperature": 3.0})
    with pytest.raises(RequestError, match="cannot be the name"):
        files.change("../escape", {"max_tokens": 1})
    assert file.read_text() == "max_tokens = 5\n"


def test_add_replaces_only_if_told_to(files: PresetFiles) -> None:
    preset = Preset(model=("a", "b"), system="line\nline", sampling=PresetSampling(top_p=0.5))
    files.add("x", preset, replace=False)
    assert files.get("x") == preset
    with pytest.raises(ConflictError):
        files.add("x", Preset(), replace=False)
    files.add("x", Preset(), replace=True)
    assert files.get("x") == Preset()


def test_remove_deletes_the_file_and_an_unknown_name_gets_the_nearest(files: PresetFiles) -> None:
    write(files, "review.toml", "")
    with pytest.raises(NotFoundError, match="similar names: review"):
        files.remove("reviw")
    assert files.remove("review").name == "review" and files.refresh() == {}


def test_disk_that_takes_nothing_is_an_error(files: PresetFiles) -> None:
    files._folder.write_text("a file in the place of the folder")
    with pytest.raises(DiskError):
        files.change("x", {"max_tokens": 1})
