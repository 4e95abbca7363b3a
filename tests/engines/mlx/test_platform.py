"""Differences between devices, with MLX's answers faked."""

from types import SimpleNamespace

import pytest

from lmx_daemon.engines.mlx import platform


@pytest.mark.parametrize("metal", [True, False])
def test_memory_is_released_after_the_gpu_has_finished(metal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fake = SimpleNamespace(
        synchronize=lambda: calls.append("synchronize"),
        clear_cache=lambda: calls.append("clear_cache"),
        set_wired_limit=lambda limit: calls.append(f"wired {limit}"),
        metal=SimpleNamespace(is_available=lambda: metal),
    )
    monkeypatch.setattr(platform, "mx", fake)
    platform.release()
    assert calls == ["synchronize", "clear_cache", *(["wired 0"] if metal else [])]
