"""Code of models: detection, refusal, and trust for one revision."""

import json
from pathlib import Path

import pytest

from lmx_daemon.contract.admin.library.files import TrustRequest
from lmx_daemon.contract.errors import RequestError, UntrustedModelError
from tests.library.repositories import library_of, make_cached, make_folder

COMMIT = "abc1234567" * 4


def add_code(folder: Path, name: str) -> str:
    """Add one kind of code to a folder, and return the name by which lmx reports it."""
    match name:
        case "auto_map" | "model_file" | "trust_remote_code":
            config = json.loads((folder / "config.json").read_text())
            (folder / "config.json").unlink()
            (folder / "config.json").write_text(json.dumps(config | {name: "x.py"}))
            return f"{name} in config.json"
        case _:
            (folder / name).write_bytes(b"\x80\x04.")
            return name


@pytest.mark.parametrize(
    "name", ["modeling_x.py", "training_args.bin", "optimizer.pt", "x.pkl", "lib.so", "auto_map", "model_file"]
)
def test_each_kind_of_code_is_detected_and_refused(tmp_path: Path, name: str) -> None:
    snapshot = make_cached(tmp_path / "cache", "maker/odd", COMMIT)
    called = add_code(snapshot, name)
    library = library_of(tmp_path)
    model = library.registry.catalog.locate("maker/odd")
    assert model.code == (called,) and model.problem is not None
    with pytest.raises(UntrustedModelError, match=r"maker/odd would run code"):
        library.registry.clear(model)


class TestTrust:
    @pytest.fixture
    def snapshot(self, tmp_path: Path) -> Path:
        snapshot = make_cached(tmp_path / "cache", "maker/odd", COMMIT)
        (snapshot / "modeling.py").write_text("print('hello')")
        return snapshot

    def test_trust_needs_the_revision(self, tmp_path: Path, snapshot: Path) -> None:
        library = library_of(tmp_path)
        for revision in (None, "abc", "f" * 40):
            with pytest.raises(RequestError) as refused:
                library.trust(TrustRequest(id="maker/odd", revision=revision))
            assert refused.value.hint == f"lmx trust maker/odd@{COMMIT}"

    def test_trust_survives_a_restart_and_can_be_withdrawn(self, tmp_path: Path, snapshot: Path) -> None:
        library_of(tmp_path).trust(TrustRequest(id="maker/odd", revision=COMMIT))
        again = library_of(tmp_path)
        model = again.registry.catalog.locate("maker/odd")
        assert model.trusted and model.problem is None and again.registry.clear(model) is True
        again.trust(TrustRequest(id="maker/odd", withdraw=True))
        assert not again.registry.catalog.locate("maker/odd").trusted

    def test_changed_code_is_not_trusted(self, tmp_path: Path, snapshot: Path) -> None:
        library = library_of(tmp_path)
        library.trust(TrustRequest(id="maker/odd", revision=COMMIT))
        (snapshot / "modeling.py").write_text("import os")
        with pytest.raises(UntrustedModelError):
            library.registry.clear(library.registry.catalog.locate("maker/odd"))

    def test_another_commit_is_not_trusted(self, tmp_path: Path, snapshot: Path) -> None:
        library = library_of(tmp_path)
        library.trust(TrustRequest(id="maker/odd", revision=COMMIT))
        newer = make_cached(tmp_path / "cache", "maker/odd", "2" * 40)
        (newer / "modeling.py").write_text("print('hello')")
        library.registry.catalog.refresh()
        model = library.registry.catalog.locate("maker/odd")
        assert model.revision == "2" * 40 and not model.trusted and model.problem is not None

    def test_model_without_a_commit_is_trusted_by_fingerprint(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path / "mine" / "one")
        (folder / "modeling.py").write_text("pass")
        library = library_of(tmp_path)
        with pytest.raises(RequestError) as refused:
            library.trust(TrustRequest(id="local/one"))
        revision = str(refused.value.hint).partition("@")[2]
        library.trust(TrustRequest(id="local/one", revision=revision))
        assert library.registry.clear(library.registry.catalog.locate("local/one")) is True

    def test_model_without_code_cannot_be_trusted(self, tmp_path: Path) -> None:
        make_folder(tmp_path / "mine" / "one")
        with pytest.raises(RequestError, match="no code"):
            library_of(tmp_path).trust(TrustRequest(id="local/one", revision="1234567"))
