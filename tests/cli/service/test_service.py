"""The service's files and commands, with launchctl and systemctl replaced by programs on PATH."""

import json
import plistlib
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from lmx_cli.commands.daemon.restart import options_of, service_of
from lmx_cli.main import run
from lmx_cli.service import launchd, systemd
from lmx_cli.service.choose import service_system
from lmx_cli.service.installation import install, is_installed, uninstall
from lmx_cli.service.launchd import Launchd
from lmx_cli.service.plan import ServicePlan, left_out, service_plan
from lmx_cli.service.system import ServiceSystem
from lmx_cli.service.systemd import Systemd
from lmx_daemon.contract.errors import ConfigError, ConflictError, LmxError, UnsupportedError
from lmx_daemon.settings.paths import Home

BEGINNING = r"""#!/bin/sh
echo "$*" >> "$FAKE/calls"
[ -e "$FAKE/fails" ] && { cat "$FAKE/fails" >&2; exit 5; }
"""
SYSTEMCTL = r"""
case "$*" in
  *show*)
    if [ -e "$FAKE/running" ]
    then printf 'LoadState=loaded\nActiveState=active\nSubState=running\nResult=success\nMainPID=4321\nNRestarts=2\n'
    else printf 'LoadState=%s\nActiveState=inactive\nSubState=dead\nMainPID=0\nNRestarts=0\n' not-found
    fi;;
  *"disable --now"*) rm "$FAKE/running";;
  *"start lmx"*) touch "$FAKE/running";;
esac
"""
LAUNCHCTL = r"""
case "$*" in
  print*)
    [ -e "$FAKE/running" ] || exit 113
    printf 'gui/501/lmx.daemon = {\n\tstate = running\n\tpid = 4321\n\truns = 3\n'
    printf '\t\tpid = 7\n\tlast exit code = 1\n}\n';;
  bootout*) rm "$FAKE/running"; exit 36;;
  bootstrap*|kickstart*) touch "$FAKE/running";;
esac
"""


@dataclass
class Fake:
    """The replaced programs: their calls, and an error that all of them report."""

    folder: Path

    def calls(self) -> list[str]:
        file = self.folder / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def fail(self, message: str) -> None:
        (self.folder / "fails").write_text(message)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, script in (("systemctl", SYSTEMCTL), ("launchctl", LAUNCHCTL)):
        (programs / name).write_text(BEGINNING + script)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("FAKE", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("LMX_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return Fake(tmp_path)


@pytest.fixture(params=[Launchd, Systemd])
def system(request: pytest.FixtureRequest, fake: Fake) -> ServiceSystem:
    made: Callable[[], ServiceSystem] = request.param
    return made()


def plan_of(folder: Path, drain_seconds: float = 10) -> ServicePlan:
    return service_plan(Home(folder / "my home"), {"HF_HOME": '/x/100%/"a"$b\\', "HF_TOKEN": "secret"}, drain_seconds)


def test_plist_has_the_documented_keys(tmp_path: Path) -> None:
    content = launchd.agent_plist(plan_of(tmp_path))
    found = plistlib.loads(content)
    assert found["Label"] == "lmx.daemon"
    assert found["ProgramArguments"][1:] == ["-m", "lmx_daemon"]
    assert found["EnvironmentVariables"] == {"LMX_HOME": str(tmp_path / "my home"), "HF_HOME": '/x/100%/"a"$b\\'}
    assert found["KeepAlive"] == {"SuccessfulExit": False}
    assert found["ThrottleInterval"] == 20
    assert found["ProcessType"] == "Interactive"
    assert found["ExitTimeOut"] == 40
    assert found["StandardErrorPath"] == found["StandardOutPath"] == str(tmp_path / "my home/logs/service.log")
    assert b"secret" not in content


def test_unit_is_valid_for_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = systemd.unit_text(plan_of(tmp_path))
    assert "Restart=on-failure\n" in text and "RestartMaxDelaySec=60\n" in text and "StartLimitBurst=8\n" in text
    assert 'Environment="HF_HOME=/x/100%%/\\"a\\"$b\\\\"\n' in text
    assert "secret" not in text
    verifier = shutil.which("systemd-analyze")
    if verifier is None:
        return
    unit = tmp_path / "lmx.service"
    unit.write_text(text)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    command = [verifier, "--user", "verify", "--man=no", str(unit)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    # Versions before 254 ignore these two, as the unit's comment states.
    newer = ("RestartSteps", "RestartMaxDelaySec")
    assert not [line for line in ended.stderr.splitlines() if not any(name in line for name in newer)]
    assert ended.returncode == 0


def test_second_install_changes_nothing(system: ServiceSystem, fake: Fake) -> None:
    assert install(system, plan_of(fake.folder)) == "installed"
    assert is_installed(system)
    assert system.state().pid == 4321
    assert system.state().restarts == 2
    written, calls = system.file.stat(), len(fake.calls())
    assert install(system, plan_of(fake.folder)) == "unchanged"
    assert system.file.stat() == written
    assert not [call for call in fake.calls()[calls:] if "print" not in call and "show" not in call]


def test_changed_plan_replaces_the_file_and_restarts_the_service(system: ServiceSystem, fake: Fake) -> None:
    install(system, plan_of(fake.folder))
    calls = len(fake.calls())
    assert install(system, plan_of(fake.folder, 50)) == "updated"
    assert b"80" in system.file.read_bytes()
    assert [call for call in fake.calls()[calls:] if "bootout" in call or "disable --now" in call]
    assert system.state().pid == 4321


def test_uninstall_stops_the_service_and_removes_its_file(system: ServiceSystem, fake: Fake) -> None:
    assert not uninstall(system)
    install(system, plan_of(fake.folder))
    assert uninstall(system)
    assert not system.file.exists()
    assert system.state().pid is None
    assert not uninstall(system)


def test_foreign_file_is_neither_replaced_nor_removed(system: ServiceSystem, fake: Fake) -> None:
    system.file.parent.mkdir(parents=True)
    system.file.write_text("of another program")
    with pytest.raises(ConflictError, match="lmx has not written it"):
        install(system, plan_of(fake.folder))
    with pytest.raises(ConflictError):
        uninstall(system)
    assert system.file.read_text() == "of another program"
    assert install(system, plan_of(fake.folder), force=True) == "updated"
    assert system.file.with_name(f"{system.file.name}.before-lmx").read_text() == "of another program"
    assert is_installed(system)


def test_link_in_place_of_the_file_is_refused(system: ServiceSystem, fake: Fake) -> None:
    system.file.parent.mkdir(parents=True)
    target = fake.folder / "target"
    target.write_text("kept")
    system.file.symlink_to(target)
    with pytest.raises(ConflictError):
        install(system, plan_of(fake.folder), force=True)
    assert target.read_text() == "kept"


def test_file_is_removed_again_if_the_service_cannot_be_loaded(system: ServiceSystem, fake: Fake) -> None:
    fake.fail("Failed to connect to bus: No medium found")
    with pytest.raises(LmxError, match="No medium found") as raised:
        install(system, plan_of(fake.folder))
    assert raised.value.hint is not None and "lmx serve --detach" in raised.value.hint
    assert not system.file.exists()


def test_missing_program_is_an_error_with_a_hint(
    system: ServiceSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(LmxError, match="is not installed on this machine"):
        system.start()


def test_other_platform_has_no_service() -> None:
    with pytest.raises(UnsupportedError, match="sunos5"):
        service_system("sunos5")
    assert service_system("darwin").name == "launchd"
    assert service_system("linux").name == "systemd"


def test_control_characters_in_a_path_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="control characters"):
        service_plan(Home(tmp_path / "a\nExecStart=b"), {}, 10)


def test_variables_that_the_service_does_not_get_are_named() -> None:
    assert left_out({"LMX_API_KEY": "k", "LMX_HOME": "h", "HF_TOKEN": "t", "PATH": "p"}) == ["HF_TOKEN", "LMX_API_KEY"]


def test_state_after_a_failure_has_its_exit_code() -> None:
    state = systemd.state_of(
        "LoadState=loaded\nActiveState=failed\nSubState=failed\nResult=exit-code\nExecMainStatus=1\n"
    )
    assert state.detail == "failed (failed), last end: exit-code, exit code 1"
    assert launchd.state_of("\tstate = not running\n\tlast exit code = 78: EX_CONFIG\n").detail == (
        "not running, last exit code 78: EX_CONFIG"
    )


def test_commands(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["service", "status"]) == 3
    assert "not installed" in capsys.readouterr().out
    assert run(["service", "install"]) == 0
    assert capsys.readouterr().out.startswith("installed: ")
    assert run(["service", "status", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["installed"] and found["pid"] == 4321 and found["restarts"] == 2
    (fake.folder / "home/logs/service.log").write_text("error: one\nerror: two\n")
    assert run(["service", "logs", "-n", "1"]) == 0
    assert capsys.readouterr().out == "error: two\n"
    assert run(["service", "install", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["change"] == "unchanged"
    assert run(["service", "uninstall"]) == 0
    assert capsys.readouterr().out.startswith("removed ")
    assert run(["service", "uninstall", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["removed"] is False


def test_restart_uses_the_service_if_it_is_installed(fake: Fake) -> None:
    assert service_of(None) is None
    native = service_system()
    install(native, plan_of(fake.folder))
    found = service_of(None)
    assert found is not None and found.file == native.file
    fake.fail("no bus")
    assert service_of(None) is None


def test_options_of_a_daemon_are_read_from_its_command_line() -> None:
    command = ["python", "-m", "lmx_daemon", "--console", "--port", "1235", "--model", "a/b"]
    assert options_of(command) == ["--port", "1235", "--model", "a/b"]
    assert options_of(["python", "other.py"]) is None
