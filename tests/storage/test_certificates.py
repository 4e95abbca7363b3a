"""Checks of a certificate and its key: every fault is an error that names the file and what would be right."""

import os
import re
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from lmx_daemon.contract.errors import ConfigError
from lmx_daemon.storage.certificates import CertificateFiles, certificate_files, read_certificate
from tests.certificates import Authority

DAY = 86_400.0


def fault(files: CertificateFiles | None) -> str:
    assert files is not None
    with pytest.raises(ConfigError) as raised:
        read_certificate(files)
    assert raised.value.hint
    return raised.value.message


def test_sound_pair_has_the_date_of_its_expiry(tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path).issue(days=30)
    files = certificate_files(str(certificate), str(key))
    assert files is not None and abs(read_certificate(files).expires_at - time.time() - 30 * DAY) < 60
    both = tmp_path / "both.pem"
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    files = certificate_files(str(both), None)
    assert files is not None and read_certificate(files).expires_at > time.time()


def test_nothing_is_served_with_tls_unless_a_certificate_is_set() -> None:
    assert certificate_files(None, None) is None
    with pytest.raises(ConfigError, match=re.escape("server.tls_key is set without server.tls_certificate")):
        certificate_files(None, "/x")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "server.tls_certificate: cannot read .*: No such file"),
        ("folder", "server.tls_key: cannot read .*: is not a regular file"),
        ("fifo", "server.tls_key: cannot read .*: is not a regular file"),
        ("text", "server.tls_certificate: .* is not a PEM file"),
        ("damaged", "are not a certificate with its key"),
        ("mismatch", "server.tls_key: .* is not the key of"),
        ("passphrase", "server.tls_key: .* is protected by a passphrase"),
        ("expired", "server.tls_certificate: .* expired 60h00m ago"),
        ("early", "server.tls_certificate: .* is valid only in"),
    ],
)
def test_fault_of_a_pair_names_the_setting_and_the_file(tmp_path: Path, kind: str, words: str) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue(
        days={"expired": -2.5}.get(kind, 9), since={"early": -5, "expired": 5}.get(kind, 1)
    )
    match kind:
        case "missing":
            certificate.unlink()
        case "folder":
            key.unlink()
            key.mkdir()
        case "fifo":
            key.unlink()
            os.mkfifo(key)
        case "text":
            certificate.write_text("no certificate")
        case "damaged":
            certificate.write_bytes(certificate.read_bytes()[:200])
        case "mismatch":
            key = authority.issue("other")[1]
        case "passphrase":
            made = serialization.load_pem_private_key(key.read_bytes(), None)
            protection = serialization.BestAvailableEncryption(b"secret")
            form = serialization.PrivateFormat.PKCS8
            key.write_bytes(made.private_bytes(serialization.Encoding.PEM, form, protection))
    assert re.search(words, fault(certificate_files(str(certificate), str(key))))
