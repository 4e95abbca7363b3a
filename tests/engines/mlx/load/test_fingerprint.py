"""The fingerprint of a model."""

import os
from pathlib import Path

from lmx_daemon.engines.mlx.load.fingerprint import fingerprint
from tests.models import build_model


class TestFingerprint:
    def test_a_model_has_a_stable_fingerprint(self, tmp_path: Path) -> None:
        paths = [build_model("llama", tmp_path / str(seed), seed=seed) for seed in (0, 1)]
        marks = {fingerprint(path, dtype, text) for path in paths for dtype in ("float32", "bfloat16") for text in "ab"}
        assert len(marks) == 8
        assert fingerprint(paths[0], "float32", "a") == fingerprint(paths[0], "float32", "a")

    def test_changed_weights_of_the_same_size_change_the_fingerprint(self, tmp_path: Path) -> None:
        path = build_model("llama", tmp_path / "model")
        before = fingerprint(path, "float32", "")
        weights = path / "model.safetensors"
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(data)
        assert fingerprint(path, "float32", "") != before

    def test_a_file_of_the_hub_cache_is_identified_by_its_hash(self, tmp_path: Path) -> None:
        path = build_model("llama", tmp_path / "snapshots" / "commit")
        blob = tmp_path / "blobs" / ("a" * 64)
        blob.parent.mkdir()
        (path / "model.safetensors").rename(blob)
        (path / "model.safetensors").symlink_to(blob)
        before = fingerprint(path, "float32", "")
        os.utime(blob, (0, 0))
        assert fingerprint(path, "float32", "") == before
        blob.rename(blob.with_name("b" * 64))
        (path / "model.safetensors").unlink()
        (path / "model.safetensors").symlink_to(blob.with_name("b" * 64))
        assert fingerprint(path, "float32", "") != before
