"""Outgoing connections of the real daemon through a real proxy, with certificates of a CA that no system trusts."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.generation.requests import Chat, Generate, Message
from lmx_daemon.http.images.inline import RemoteImage
from lmx_daemon.http.images.remote import RemoteImages, proxy_of
from lmx_daemon.settings.network import take_certificates
from lmx_daemon.settings.schema import ServerSettings
from tests.end_to_end.running import Daemon
from tests.library.conftest import REPO, StandIn
from tests.library.conftest import hub as hub
from tests.library.conftest import hub_process as hub_process
from tests.tls_proxy import TlsProxy

HUB = "hub.lmx.test"
"""A host that no resolver can find."""


@pytest.fixture
def proxy(hub: StandIn, tmp_path: Path) -> Iterator[TlsProxy]:
    """Yield a proxy behind which the stand-in Hub is reached as https://hub.lmx.test."""
    host, _, port = hub.endpoint.rpartition("/")[2].partition(":")
    made = TlsProxy((host, int(port)), tmp_path)
    hub.faults(location=f"https://cdn.lmx.test/cdn/{REPO}/model.safetensors")
    yield made
    made.close()


def daemon_behind(own_daemon: Daemon, proxy: TlsProxy, folder: Path, **environment: str) -> Daemon:
    own_daemon.config = "[library]\nreserve_bytes = 0\n[engine]\nwarm_spare = false\n"
    own_daemon.environment |= {
        "HF_ENDPOINT": f"https://{HUB}",
        "HF_HUB_CACHE": str(folder / "cache"),
        "HTTPS_PROXY": proxy.url,
        "NO_PROXY": "localhost,127.0.0.1",
        "SSL_CERT_FILE": "",
        "SSL_CERT_DIR": "",
        "REQUESTS_CA_BUNDLE": "",
        "CURL_CA_BUNDLE": "",
    } | environment
    return own_daemon.start()


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_pull_uses_the_proxy_and_the_certificates_of_the_environment(
    own_daemon: Daemon, proxy: TlsProxy, tmp_path: Path, variable: str
) -> None:
    daemon = daemon_behind(own_daemon, proxy, tmp_path, **{variable: str(proxy.certificates)})
    done = daemon.lmx("pull", REPO, timeout=120)
    assert done.returncode == 0, done.stderr
    assert {f"{HUB}:443", "cdn.lmx.test:443"} <= set(proxy.hosts)
    assert daemon.lmx("verify", REPO).returncode == 0
    assert daemon.lmx("search", "tiny").returncode == 0


def test_unknown_authority_is_named_and_nothing_is_downloaded(
    own_daemon: Daemon, proxy: TlsProxy, tmp_path: Path
) -> None:
    daemon = daemon_behind(own_daemon, proxy, tmp_path)
    refused = daemon.lmx("search", "tiny")
    assert refused.returncode == 1 and "certificate" in refused.stderr.lower() and "Traceback" not in refused.stderr
    assert set(proxy.hosts) == {f"{HUB}:443"}


def test_missing_file_of_certificates_is_named_in_the_log_and_in_the_error(
    own_daemon: Daemon, proxy: TlsProxy, tmp_path: Path
) -> None:
    daemon = daemon_behind(own_daemon, proxy, tmp_path, SSL_CERT_FILE=str(tmp_path / "none.pem"))
    refused = daemon.lmx("search", "tiny")
    assert refused.returncode == 1 and "Traceback" not in refused.stderr
    assert "SSL_CERT_FILE names" in daemon.lmx("logs", "--level", "warning").stdout
    assert proxy.hosts == []


def test_no_proxy_leaves_the_proxy_out(own_daemon: Daemon, proxy: TlsProxy, tmp_path: Path) -> None:
    daemon = daemon_behind(own_daemon, proxy, tmp_path, NO_PROXY="lmx.test")
    assert daemon.lmx("search", "tiny").returncode == 1  # the host is unknown without the proxy
    assert proxy.hosts == []


async def test_image_is_fetched_through_the_proxy_with_the_name_of_its_host(
    proxy: TlsProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tunnel leads to the address that was checked; TLS names the host. The stand-in answers 404."""
    environment = {"HTTPS_PROXY": proxy.url, "NO_PROXY": "", "REQUESTS_CA_BUNDLE": str(proxy.certificates)}
    for name, value in (environment | {"SSL_CERT_FILE": "", "SSL_CERT_DIR": ""}).items():
        monkeypatch.setenv(name, value)
    assert take_certificates(os.environ) == ""

    async def resolve(host: str, port: int) -> list[str]:
        return ["8.8.8.8"]

    images = RemoteImages(lambda: ServerSettings(image_hosts=("images.lmx.test",)), resolve)
    image = RemoteImage(data=b"", media_type="", url="https://images.lmx.test/a.png", place="messages[0]")
    prompt = Chat(messages=(Message(role="user", content=(image,)),))
    with pytest.raises(RequestError, match=r"images.lmx.test answers with status 404"):
        await images.fetched(Generate(id="r", model="m", prompt=prompt))
    assert proxy.hosts == ["8.8.8.8:443"]


def test_proxy_of_a_host_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "inside.example,.lan")
    assert proxy_of("https", "images.example") == "http://proxy.example:3128"
    assert proxy_of("https", "inside.example") is None and proxy_of("https", "a.lan") is None
    assert proxy_of("http", "images.example") is None
    monkeypatch.setenv("ALL_PROXY", "http://all.example:1")
    assert proxy_of("http", "images.example") == "http://all.example:1"
