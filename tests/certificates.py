"""Certificates for tests of TLS: an authority, and pairs that it has issued."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme


class Authority:
    """An authority that tests trust, with its files in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._authority = trustme.CA()
        self.file = folder / "authority.pem"
        self._authority.cert_pem.write_to_path(self.file)

    def issue(self, name: str = "server", days: float = 90.0, since: float = 1.0) -> tuple[Path, Path]:
        """Return the files of a certificate for this machine, valid from `since` days ago for `days` days from now."""
        now = datetime.now(UTC)
        made = self._authority.issue_cert(
            "127.0.0.1", "localhost", not_before=now - timedelta(days=since), not_after=now + timedelta(days=days)
        )
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))
        key.write_bytes(made.private_key_pem.bytes())
        return certificate, key

    def context(self) -> ssl.SSLContext:
        """Return the context of a client that trusts the authority only."""
        return ssl.create_default_context(cafile=str(self.file))
