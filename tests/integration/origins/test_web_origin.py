"""nginx as the origin, over TLS and through a proxy as in a company network."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from modeldist.errors import OriginUnavailable
from modeldist.origins.router import Origins
from modeldist.origins.settings import HttpSettings, OriginSettings
from tests.servers.certificates import Issued, issue
from tests.servers.files import NGINX, Nginx
from tests.unit.origins.conformance import OriginConformance, Place, ReadRange
from tests.unit.origins.conftest import plain_environment, read_range  # noqa: F401 - fixtures

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed (Debian: apt-get install nginx)")
BODY = os.urandom(3_000_001)
QUICK = HttpSettings(retries=1, backoff=0.01, stall_timeout=10)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Issued:
    return issue(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=["http", "https"])
def nginx(request: pytest.FixtureRequest, tmp_path: Path, certificate: Issued) -> Iterator[Nginx]:
    root, work = tmp_path / "root", tmp_path / "work"
    root.mkdir()
    work.mkdir()
    (root / "model.safetensors").write_bytes(BODY)
    with Nginx(
        root, work, certificate=(certificate.chain, certificate.key) if request.param == "https" else None
    ) as made:
        yield made


@pytest.fixture
def trusted(certificate: Issued, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.authority))


@pytest.mark.usefixtures("trusted")
class TestNginx(OriginConformance):
    @pytest.fixture
    def place(self, nginx: Nginx, tmp_path: Path) -> Place:
        def change() -> None:
            path = tmp_path / "root/model.safetensors"
            path.unlink()
            path.write_bytes(bytes(len(BODY) - 1))

        return Place(
            Origins(OriginSettings(http=QUICK)),
            f"{nginx.url}/model.safetensors",
            f"{nginx.url}/none",
            move=change,
            spoil=change,
            contents={"model.safetensors": BODY},
        )


@pytest.mark.usefixtures("trusted")
async def test_nginx_counts_each_byte_once(nginx: Nginx, read_range: ReadRange) -> None:  # noqa: F811
    origins = Origins(OriginSettings(http=QUICK))
    artifact = await origins.resolve(f"{nginx.url}/model.safetensors")
    reader = origins.reader(artifact)
    for start in range(0, len(BODY), 1 << 20):
        length = min(1 << 20, len(BODY) - start)
        assert read_range(reader, artifact.files[0].digest, start, length) == BODY[start : start + length]
    reader.close()
    log = nginx.log(at_least=4)
    assert [line.method for line in log] == ["HEAD", "GET", "GET", "GET"]
    assert nginx.body_bytes() == len(BODY)
    assert len({line.connection for line in log[1:]}) == 1


@pytest.mark.parametrize("nginx", ["https"], indirect=True)
async def test_a_stranger_to_the_authority_is_refused(nginx: Nginx) -> None:
    with pytest.raises(OriginUnavailable, match="not trusted") as caught:
        await Origins(OriginSettings(http=QUICK)).resolve(f"{nginx.url}/model.safetensors")
    assert "SSL_CERT_FILE" in caught.value.remedy


class Proxy:
    """CONNECT, and whole-URL requests as for plain HTTP; notes the first line and credentials of each."""

    def __init__(self, refuse: bool = False) -> None:
        self.seen: list[tuple[str, str]] = []
        self._refuse = refuse
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        self._open: list[socket.socket] = []

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in list(self._open):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for sock in self._open:
            sock.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                self._open.append(client)
                self._start(self._serve, client)

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _serve(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        first, *lines = head.decode().split("\r\n")
        method, target, _ = first.split(" ")
        credentials = next((line for line in lines if line.lower().startswith("proxy-authorization")), "")
        self.seen.append((first, credentials.partition(": ")[2]))
        if self._refuse:
            client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        host, port = target.removeprefix("http://").partition("/")[0].split(":")
        upstream = socket.create_connection((host, int(port)))
        self._open.append(upstream)
        if method == "CONNECT":
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            upstream.sendall(head)
        self._start(self._copy, upstream, client)
        self._copy(client, upstream)

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


@pytest.mark.usefixtures("trusted")
async def test_the_environments_proxy_is_used(
    nginx: Nginx,
    monkeypatch: pytest.MonkeyPatch,
    read_range: ReadRange,  # noqa: F811
) -> None:
    proxy = Proxy()
    monkeypatch.setenv("HTTPS_PROXY", f"http://ada:p%40ss@{proxy.address}")
    monkeypatch.setenv("http_proxy", f"http://ada:p%40ss@{proxy.address}")
    origins = Origins(OriginSettings(http=QUICK))
    artifact = await origins.resolve(f"{nginx.url}/model.safetensors")
    reader = origins.reader(artifact)
    assert read_range(reader, artifact.files[0].digest, 5, 100) == BODY[5:105]
    assert read_range(reader, artifact.files[0].digest, 105, 100) == BODY[105:205]
    reader.close()
    assert len(proxy.seen) == 2  # one to resolve, one for all reads
    authority = nginx.url.partition("://")[2]
    wanted = f"CONNECT {authority}" if nginx.url.startswith("https") else f"HEAD {nginx.url}/model.safetensors"
    assert proxy.seen[0] == (f"{wanted} HTTP/1.1", "Basic YWRhOnBAc3M=")
    proxy.close()


@pytest.mark.parametrize("nginx", ["https"], indirect=True)
@pytest.mark.usefixtures("trusted")
async def test_proxies_that_do_not_work_are_named(nginx: Nginx, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy(refuse=True)
    reference = f"{nginx.url}/model.safetensors"
    origins = Origins(OriginSettings(http=QUICK))
    monkeypatch.setenv("HTTPS_PROXY", proxy.address)
    with pytest.raises(OriginUnavailable, match="opens no tunnel"):
        await origins.resolve(reference)
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1")
    with pytest.raises(OriginUnavailable, match="not an http:// proxy"):
        await origins.resolve(reference)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert (await origins.resolve(reference)).size == len(BODY)
    proxy.close()
