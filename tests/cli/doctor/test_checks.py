"""The checks of `lmx doctor`, each with one fact at fault."""

import msgspec
import pytest

from lmx_cli.doctor.checks import checks_of
from lmx_cli.doctor.facts import EngineFacts, Facts, FileFacts, FolderFacts, SleepFacts
from lmx_cli.doctor.report import report_text
from lmx_daemon.contract.admin.config import ConfigRow
from lmx_daemon.contract.admin.snapshot import Health, Status

GIB = 1024**3
ENGINE = EngineFacts(mlx="0.32.4", mlx_lm="0.32.2", device="cpu", openblas="/lib/o.so", total=16 * GIB, cap=14 * GIB)
FOLDER = FolderFacts(path="/h", free=100 * GIB)
SOUND = Facts(
    version="1.0",
    python=(3, 11, 4),
    platform="linux",
    machine="x86_64",
    engine=ENGINE,
    home=FOLDER,
    cache=FOLDER,
    token=FileFacts(path="/t"),
    socket=FileFacts(path="/h/lmx.sock"),
    port=1234,
    sleep=SleepFacts(means="caffeinate"),
)
RUNNING = Status(
    version="1.0",
    protocol=1,
    pid=7,
    started_at=0.0,
    uptime=60.0,
    address="http://127.0.0.1:1234",
    home="/h",
    health=Health(ok=True),
)
changed = msgspec.structs.replace


def test_sound_machine_has_no_fault() -> None:
    states = {check.name: check.state for check in checks_of(changed(SOUND, daemon=RUNNING, hub_error=""))}
    assert set(states.values()) == {"ok"}
    assert {"python", "engine", "BLAS", "memory", "home", "config", "daemon", "port", "Hub token", "Hub"} <= set(states)


@pytest.mark.parametrize(
    ("facts", "name", "state", "words"),
    [
        (changed(SOUND, python=(3, 10, 1)), "python", "failed", "too old"),
        (changed(SOUND, platform="darwin"), "platform", "failed", "Apple silicon"),
        (changed(SOUND, engine=EngineFacts(error="no module mlx")), "engine", "failed", "no module mlx"),
        (changed(SOUND, engine=changed(ENGINE, openblas=None)), "BLAS", "warning", "libopenblas0"),
        (changed(SOUND, home=changed(FOLDER, own=False)), "home", "failed", "another user"),
        (changed(SOUND, home=changed(FOLDER, writable=False)), "home", "failed", "cannot write"),
        (changed(SOUND, home=changed(FOLDER, mode=0o755)), "home", "warning", "chmod 700 /h"),
        (changed(SOUND, home=changed(FOLDER, free=0)), "disk of home", "failed", "LMX_HOME"),
        (changed(SOUND, cache=changed(FOLDER, free=GIB)), "disk of models", "warning", "lmx prune"),
        (changed(SOUND, config_error="line 3: x"), "config", "failed", "lmx config edit"),
        (changed(SOUND, daemon=changed(RUNNING, config_waiting=("a.b",))), "config", "warning", "lmx restart"),
        (SOUND, "daemon", "warning", "lmx serve --detach"),
        (changed(SOUND, daemon_error="silent"), "daemon", "failed", "silent"),
        (changed(SOUND, daemon=changed(RUNNING, version="0.9")), "daemon", "failed", "lmx restart"),
        (
            changed(SOUND, daemon=changed(RUNNING, health=Health(ok=False, reason="no loop"))),
            "daemon",
            "failed",
            "no loop",
        ),
        (changed(SOUND, socket=FileFacts(path="/s", exists=True, mode=0o666)), "socket", "failed", "chmod 600"),
        (changed(SOUND, port_taken=True, port_holder="other (pid 3)"), "port", "failed", "in use by other (pid 3)"),
        (changed(SOUND, token=FileFacts(path="/t", exists=True, mode=0o644)), "Hub token", "warning", "chmod 600 /t"),
        (changed(SOUND, sleep=SleepFacts(error="no bus")), "sleep", "warning", "server.prevent_sleep false"),
        (changed(SOUND, hub_error="cannot reach it"), "Hub", "failed", "check the network"),
    ],
)
def test_fault_is_found_and_has_an_advice(facts: Facts, name: str, state: str, words: str) -> None:
    (found,) = [check for check in checks_of(facts) if check.name == name]
    assert found.state == state
    assert words in f"{found.message}: {found.advice}"
    assert found.advice


def test_report_has_no_secret() -> None:
    rows = [
        ConfigRow(key="server.api_key", section="server", name="api_key", type="text", help="", reload="hot",
                  secret=True, is_set=True),
        ConfigRow(key="library.endpoint", section="library", name="endpoint", type="text", help="", reload="hot",
                  value="https://me:pass@hub.example/?token=t0ken", is_set=True),
    ]  # fmt: skip
    text = report_text(SOUND, checks_of(SOUND), rows, ["1 warning http: refused https://a:word@b.example"])
    assert "server.api_key = (secret)" in text and "hub.example" in text and "b.example" in text
    assert not [secret for secret in ("pass@", "t0ken", "word@") if secret in text]
