"""Environment of all tests: no test sees the developer's home, tokens or cache."""

import os
import signal
from collections.abc import Iterator

import pytest

from tests.skips import SkipGuard

PRIVATE = ("LMX_HOME", "LMX_API_KEY", "HF_TOKEN", "HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "NO_COLOR", "TEXTUAL_THEME")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(SkipGuard())
    # nohup ignores SIGHUP, and a background job ignores SIGINT. Programs that tests start would inherit that.
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture(autouse=True, scope="session")
def _isolated_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Point home, caches and Hub to an empty folder and a closed port."""
    kept = {name: os.environ.pop(name) for name in PRIVATE if name in os.environ}
    place = tmp_path_factory.mktemp("environment")
    os.environ["LMX_HOME"] = str(place / "lmx")
    os.environ["HF_HOME"] = str(place / "hugging-face")
    os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
    home, os.environ["HOME"] = os.environ.get("HOME"), str(place)  # where LM Studio's models would be
    yield
    for name in ("LMX_HOME", "HF_HOME", "HF_ENDPOINT"):
        os.environ.pop(name, None)
    os.environ.update(kept)
    if home is not None:
        os.environ["HOME"] = home
