"""Tests of reading model files: regular files only, within limits, and large JSON in a child process."""

import json
import os
import resource
import struct
import time
from pathlib import Path

import pytest

from lmx_daemon.storage.foreign.reading import (
    IN_PROCESS_BYTES,
    MAX_HEADER_BYTES,
    open_model_file,
    read_index,
    read_object,
    read_tensors,
)
from lmx_daemon.storage.foreign.safetensors import read_header


def write_header(file: Path, header: bytes) -> Path:
    file.write_bytes(struct.pack("<Q", len(header)) + header)
    return file


def tensors(count: int) -> dict[str, object]:
    return {
        f"model.layers.{i}.mlp.experts.weight": {"dtype": "BF16", "shape": [8, 8], "data_offsets": [i, i + 1]}
        for i in range(count)
    }


class TestKinds:
    def test_fifo_is_refused_without_waiting(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "config.json")
        begun = time.monotonic()
        assert read_object(tmp_path / "config.json") is None
        assert read_tensors(tmp_path / "config.json") is None
        with pytest.raises(OSError):
            open_model_file(tmp_path / "config.json")
        assert time.monotonic() - begun < 1

    def test_device_and_folder_are_refused_and_links_are_followed(self, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to("/dev/zero")
        assert read_object(tmp_path / "link") is None and read_object(tmp_path) is None
        (tmp_path / "real.json").write_text('{"a": 1}')
        (tmp_path / "other").symlink_to("real.json")
        assert read_object(tmp_path / "other") == {"a": 1}


class TestLargeFiles:
    def test_valid_header_of_four_megabytes_is_read_completely(self, tmp_path: Path) -> None:
        header = json.dumps({"__metadata__": {"format": "pt", "dtype": "x"}, **tensors(40_000)}).encode()
        assert 4_000_000 < len(header) < MAX_HEADER_BYTES
        found = read_header(write_header(tmp_path / "model.safetensors", header))
        assert found is not None and len(found) == 40_000
        assert found["model.layers.7.mlp.experts.weight"].shape == (8, 8)

    def test_header_above_the_limit_is_refused(self, tmp_path: Path) -> None:
        header = b'{"a":"' + b"x" * MAX_HEADER_BYTES + b'"}'
        assert read_tensors(write_header(tmp_path / "model.safetensors", header)) is None

    @pytest.mark.parametrize("inner", [b"[" * 3_000_000 + b"]" * 3_000_000, b"[" + b"[]," * 2_000_000 + b"[]]"])
    def test_hostile_header_costs_the_daemon_nothing(self, tmp_path: Path, inner: bytes) -> None:
        file = write_header(tmp_path / "model.safetensors", b'{"a":' + inner + b"}")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert read_header(file) is None
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000

    def test_large_index_is_reduced_to_the_names_of_its_files(self, tmp_path: Path) -> None:
        weights = {f"model.layers.{i}.mlp.gate_proj.weight": f"model-{i % 163:05}.safetensors" for i in range(200_000)}
        (tmp_path / "index.json").write_text(json.dumps({"weight_map": weights}))
        found = read_index(tmp_path / "index.json")
        assert found is not None and len(found["weight_map"].values()) == 163

    def test_index_that_takes_too_much_memory_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "index.json").write_bytes(b'{"weight_map":{},"x":[' + b",".join([b"{}"] * 20_000_000) + b"]}")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert read_index(tmp_path / "index.json") is None
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000

    def test_large_object_loses_only_its_very_large_members(self, tmp_path: Path) -> None:
        added = {str(i): {"content": "x" * 100} for i in range(20_000)}
        value = {"chat_template": "x" * 200_000, "added_tokens_decoder": added, "model_max_length": 5}
        (tmp_path / "t.json").write_text(json.dumps(value))
        assert (tmp_path / "t.json").stat().st_size > IN_PROCESS_BYTES
        found = read_object(tmp_path / "t.json")
        assert found == {"chat_template": "x" * 200_000, "model_max_length": 5}
