"""The variables that name the certificates of outgoing connections."""

from pathlib import Path

import pytest

from lmx_daemon.settings.network import take_certificates


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "ca.pem").write_text("")
    return str(tmp_path / "ca.pem")


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_bundle_of_other_programs_is_used(name: str, file: str, tmp_path: Path) -> None:
    environ = {name: file}
    assert take_certificates(environ) == "" and environ["SSL_CERT_FILE"] == file
    folder = {name: str(tmp_path)}
    assert take_certificates(folder) == "" and folder["SSL_CERT_DIR"] == str(tmp_path)


def test_ssl_cert_variable_overrides_the_bundles_of_other_programs(file: str, tmp_path: Path) -> None:
    environ = {"SSL_CERT_DIR": str(tmp_path), "REQUESTS_CA_BUNDLE": file}
    assert take_certificates(environ) == "" and "SSL_CERT_FILE" not in environ


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"])
def test_missing_file_is_named(name: str, tmp_path: Path) -> None:
    fault = take_certificates({name: str(tmp_path / "none")})
    assert fault.startswith(f"{name} names {tmp_path / 'none'}")


def test_environment_without_certificates_is_unchanged() -> None:
    environ: dict[str, str] = {"SSL_CERT_FILE": ""}
    assert take_certificates(environ) == "" and environ == {"SSL_CERT_FILE": ""}
