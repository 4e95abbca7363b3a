"""The certificate of the public port while the daemon runs: a renewed file is used, a faulty one is not."""

import logging
import ssl
from pathlib import Path

import pytest

from lmx_daemon.contract.errors import ConfigError
from lmx_daemon.http.server.tls import Tls
from lmx_daemon.storage.certificates import certificate_files
from tests.certificates import Authority


def served(tls: Tls, authority: Authority) -> bytes:
    """Return the certificate that a client gets, after a handshake in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = tls.context.wrap_bio(to_server, to_client, server_side=True)
    client = authority.context().wrap_bio(to_client, to_server, server_hostname="localhost")
    ended: set[ssl.SSLObject] = set()
    while len(ended) < 2:
        for side in (client, server):
            try:
                side.do_handshake()
                ended.add(side)
            except ssl.SSLWantReadError:
                pass
    return client.getpeercert(True) or b""


def test_renewed_certificate_is_used_and_a_faulty_one_is_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue(days=3)
    files = certificate_files(str(certificate), str(key))
    assert files is not None
    tls = Tls(files)
    first, ends = served(tls, authority), tls.certificate.expires_at
    tls.look()
    assert served(tls, authority) == first
    authority.issue(days=60)
    tls.look()
    second = served(tls, authority)
    assert second != first and tls.certificate.expires_at > ends
    with caplog.at_level(logging.ERROR):
        key.write_bytes(authority.issue("other")[1].read_bytes())
        tls.look()
    assert served(tls, authority) == second and "the former certificate stays in use" in caplog.text


def test_faulty_pair_is_refused_at_the_start(tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path).issue(days=-1, since=5)
    files = certificate_files(str(certificate), str(key))
    assert files is not None
    with pytest.raises(ConfigError, match="expired"):
        Tls(files)
