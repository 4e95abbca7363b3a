"""Commands of the library with a real daemon and models that can be loaded."""

import json
import os
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.running import Daemon
from tests.library.repositories import flip, make_cached
from tests.models import build_model

ODD = "tests/odd"
CODE = """
from transformers import LlamaConfig
class Odd(LlamaConfig):
    model_type = "llama"
open({marker!r}, "w").close()
"""


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, Path]]:
    """Return a daemon whose cache has a valid model and a model whose config names code."""
    root = tmp_path_factory.mktemp("stocked")
    plain = build_model("llama", root / "plain", ends=False)
    for repo in ("tests/sound", ODD):
        snapshot = make_cached(root / "cache", repo)
        shutil.rmtree(snapshot)
        shutil.copytree(plain, snapshot)
    config = json.loads((plain / "config.json").read_text())
    odd = root / "cache" / "models--tests--odd" / "snapshots" / ("1" * 40)
    (odd / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoConfig": "configuration_odd.Odd"}}))
    (odd / "configuration_odd.py").write_text(CODE.format(marker=str(root / "ran")))
    daemon = Daemon(
        environment={"HF_HUB_CACHE": str(root / "cache")}, config=f'[library]\nfolders = ["{root}/mine"]\n'
    ).start()
    yield daemon, root
    assert daemon.stop() == 0


def test_changed_file_is_refused_until_it_is_verified(stocked: tuple[Daemon, Path]) -> None:
    daemon, root = stocked
    sound = root / "cache" / "models--tests--sound" / "snapshots" / ("1" * 40)
    assert "recorded" in daemon.lmx("verify", "tests/sound").stdout
    flip(sound / "tokenizer_config.json")
    refused = daemon.lmx("load", "tests/sound")
    assert refused.returncode == 1 and "lmx verify tests/sound" in refused.stderr
    found = daemon.lmx("verify", "tests/sound")
    assert found.returncode == 1 and "tokenizer_config.json has other bytes" in found.stdout
    assert "--accept" in found.stderr
    flip(sound / "tokenizer_config.json")
    assert daemon.lmx("verify", "tests/sound").returncode == 0
    assert "ready" in daemon.lmx("load", "tests/sound").stdout
    assert daemon.lmx("rm", "tests/sound", "--yes").returncode == 1
    daemon.lmx("unload", "tests/sound")


def test_model_is_found_by_a_part_of_its_name(stocked: tuple[Daemon, Path]) -> None:
    daemon, _ = stocked
    assert "tests/sound" in daemon.lmx("show", "SOU").stdout
    assert "tests/sound" in daemon.lmx("verify", "sou").stdout
    assert "removed tests/sound" in daemon.lmx("rm", "sou", "--yes").stdout
    assert "restored" in daemon.lmx("rm", "--undo").stdout
    for command in ("show", "verify", "rm"):
        wrong = daemon.lmx(command, "tests/suond")
        assert wrong.returncode == 1 and "similar names: tests/sound" in wrong.stderr


def test_removed_model_is_restored(stocked: tuple[Daemon, Path]) -> None:
    daemon, _ = stocked
    removed = daemon.lmx("rm", "tests/sound", "--yes")
    assert removed.returncode == 0 and "lmx rm --undo tests/sound" in removed.stderr
    assert "tests/sound" not in daemon.lmx("ls").stdout and "tests/sound" in daemon.lmx("rm", "--list").stdout
    assert daemon.lmx("rm", "--empty", "nope/x").returncode == 1
    assert "is restored" in daemon.lmx("rm", "--undo").stdout
    assert "tests/sound" in daemon.lmx("ls").stdout


def test_code_is_refused_until_it_is_trusted(stocked: tuple[Daemon, Path]) -> None:
    daemon, root = stocked
    refused = daemon.lmx("load", ODD)
    assert refused.returncode == 1 and "configuration_odd.py" in refused.stderr
    assert daemon.lmx("trust", ODD).returncode == 1
    assert "at 1111111111111111111111111111111111111111 only" in daemon.lmx("trust", f"{ODD}@{'1' * 40}").stdout
    assert not (root / "ran").exists()
    assert "ready" in daemon.lmx("load", ODD).stdout
    assert (root / "ran").exists()
    daemon.lmx("unload", ODD)
    assert "no longer runs" in daemon.lmx("trust", ODD, "--withdraw", "--yes").stdout
    assert daemon.lmx("load", ODD).returncode == 1


def test_imported_single_file_loads(stocked: tuple[Daemon, Path]) -> None:
    daemon, root = stocked
    folder = root / "plain"
    os.rename(folder / "model.safetensors", folder / "net.safetensors")
    assert "linked" in daemon.lmx("import", str(folder / "net.safetensors"), "--as", "me/net").stdout
    assert "ready" in daemon.lmx("load", "me/net").stdout
    daemon.lmx("unload", "me/net")
    assert json.loads(daemon.lmx("ls", "me/net", "--json").stdout)[0]["source"] == "imported"


def test_absurd_shape_in_a_watched_folder_is_refused(stocked: tuple[Daemon, Path]) -> None:
    daemon, root = stocked
    folder = root / "mine" / "absurd"
    shutil.copytree(root / "cache" / "models--tests--sound" / "snapshots" / ("1" * 40), folder)
    header = b'{"a":{"dtype":"F32","shape":[0,4294967296],"data_offsets":[0,0]}}'.ljust(72)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    refused = daemon.lmx("load", "local/absurd")
    assert refused.returncode == 1 and "absurd shape" in refused.stderr


def test_show_du_and_prune(stocked: tuple[Daemon, Path]) -> None:
    daemon, _ = stocked
    shown = daemon.lmx("show", "tests/sound").stdout
    assert "sha256:" in shown and "memory" in shown and "weights" in shown
    assert "<|im_start|>" in daemon.lmx("show", "tests/sound", "--template").stdout
    assert json.loads(daemon.lmx("show", "tests/sound", "--config").stdout)["model_type"] == "llama"
    assert {row["id"] for row in json.loads(daemon.lmx("du", "--json").stdout)["rows"]} >= {"tests/sound", ODD}
    assert daemon.lmx("prune", "--dry-run").returncode == 0


def test_recommendations_work_without_a_hub(stocked: tuple[Daemon, Path]) -> None:
    daemon, _ = stocked
    assert daemon.lmx("search", "qwen").returncode == 1
    advice = daemon.lmx("recommend", "--all")
    assert advice.returncode == 0 and "mlx-community/" in advice.stdout and "cannot reach" in advice.stderr


def test_listing_is_sorted_as_requested(stocked: tuple[Daemon, Path]) -> None:
    daemon, _ = stocked
    sizes = [model.get("size", 0) for model in json.loads(daemon.lmx("ls", "--sort", "size", "--json").stdout)]
    assert sizes == sorted(sizes, reverse=True) and len(sizes) > 2
    assert "no model matches" in daemon.lmx("ls", "no-such-words").stderr
