"""TLS certificates in PEM files: checks of a certificate and its key, and contexts for servers and clients.

A fault is a ConfigError that names the setting and the file. Blocking; it does not know who connects.
"""

import _ssl
import os
import ssl
import time
from collections.abc import Callable
from pathlib import Path

from lmx_daemon.contract.errors import ConfigError
from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.contract.units import duration
from lmx_daemon.storage.durable import read_regular

MAX_BYTES = 1024 * 1024
FileSignatures = tuple[tuple[int, ...], ...]


class CertificateFiles(Frozen, frozen=True):
    """The files of a certificate with its chain, and of its private key. One file may hold both."""

    certificate: Path
    key: Path


class Certificate(Frozen, frozen=True):
    """Facts of a certificate that a server may use."""

    expires_at: float
    """Unix time."""


def certificate_files(certificate: str | None, key: str | None) -> CertificateFiles | None:
    """Return the files that the settings name; None if they name none. Raise ConfigError for a key alone."""
    if certificate is None:
        if key is not None:
            raise ConfigError(
                "server.tls_key is set without server.tls_certificate", hint="set both, or remove server.tls_key"
            )
        return None
    path = Path(certificate).expanduser()
    return CertificateFiles(certificate=path, key=path if key is None else Path(key).expanduser())


def server_context() -> ssl.SSLContext:
    """Return a context without a certificate, for TLS 1.2 and later."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def load_certificate(
    context: ssl.SSLContext, files: CertificateFiles, clock: Callable[[], float] = time.time
) -> Certificate:
    """Load a pair into `context`, for connections from now on, and return its facts. Raise ConfigError.

    An expired certificate and one that is not yet valid are refused. If it raises, `context` is as before.
    """
    found = read_certificate(files, clock)
    context.load_cert_chain(files.certificate, files.key, _no_passphrase)
    return found


def read_certificate(files: CertificateFiles, clock: Callable[[], float] = time.time) -> Certificate:
    """Return the facts of a pair that a server can use. Raise ConfigError."""
    for name, file in (("server.tls_certificate", files.certificate), ("server.tls_key", files.key)):
        _check_file(name, file)
    try:
        server_context().load_cert_chain(files.certificate, files.key, _no_passphrase)
        # The only reader of a certificate's dates in the standard library.
        facts = _ssl._test_decode_cert(files.certificate)  # type: ignore[attr-defined]
    except Passphrase:
        raise ConfigError(
            f"server.tls_key: {files.key} is protected by a passphrase",
            hint="write the key without one, readable by you only: openssl pkey -in KEY -out NEW",
        ) from None
    except ssl.SSLError as error:
        raise _fault(files, error) from None
    begins, ends = (ssl.cert_time_to_seconds(str(facts[each])) for each in ("notBefore", "notAfter"))
    now = clock()
    if now >= ends:
        raise ConfigError(
            f"server.tls_certificate: {files.certificate} expired {duration(now - ends)} ago",
            hint="renew it, or remove server.tls_certificate to serve without TLS",
        )
    if now < begins:
        raise ConfigError(
            f"server.tls_certificate: {files.certificate} is valid only in {duration(begins - now)}",
            hint="check the clock of this machine",
        )
    return Certificate(expires_at=ends)


def signature(files: CertificateFiles) -> FileSignatures:
    """Return a value that changes with the files."""
    return tuple(map(_signature, (files.certificate, files.key)))


class Passphrase(Exception):
    """A key needs a passphrase. Without this error, OpenSSL would ask on the terminal."""


def _signature(file: Path) -> tuple[int, ...]:
    try:
        found = os.stat(file)
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_ino, found.st_size


def _no_passphrase() -> str:
    raise Passphrase


def _check_file(name: str, file: Path) -> None:
    try:
        content = read_regular(file, MAX_BYTES, follow=True)
    except OSError as error:
        hint = "give the path of a PEM file" if isinstance(error, FileNotFoundError) else f"see: ls -l {file}"
        raise ConfigError(f"{name}: cannot read {file}: {error.strerror or error}", hint=hint) from None
    if b"-----BEGIN" not in content:
        raise ConfigError(f"{name}: {file} is not a PEM file", hint="it must have -----BEGIN CERTIFICATE----- or a key")


def _fault(files: CertificateFiles, error: ssl.SSLError) -> ConfigError:
    """Return the error of a pair that OpenSSL refuses."""
    if error.reason == "KEY_VALUES_MISMATCH":
        return ConfigError(
            f"server.tls_key: {files.key} is not the key of {files.certificate}",
            hint="the first certificate of the file must be the server's own, and the key must belong to it",
        )
    reason = (error.reason or str(error)).lower().replace("_", " ")
    return ConfigError(
        f"server.tls_certificate: {files.certificate} and {files.key} are not a certificate with its key: {reason}",
        hint="both must be PEM: the certificate with its chain, and the private key",
    )
