"""Connections: name → address (checked) → TCP, through the environment's proxy if there is one, → TLS."""

from __future__ import annotations

import base64
import ipaddress
import os
import socket
import ssl
import struct
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import unquote, urlsplit

from modeldist.errors import OriginProtocolError, OriginUnavailable
from modeldist.origins.http_body import TICK
from modeldist.origins.http_redirects import Endpoint, zone_of_name
from modeldist.origins.settings import HttpSettings
from modeldist.socket_to_file import SocketToFile
from modelpack.oci.addresses import Zone
from modelpack.oci.unreachable import is_unknown_name, refusal

_MAX_CONNECT_ANSWER = 16 << 10
_NO_TLS = ("WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG")  # what OpenSSL makes of an answer in plain HTTP


@dataclass
class Connection:
    """One kept-alive connection. `prefix` comes before the path in requests (a plain HTTP proxy wants whole URLs)."""

    sock: socket.socket
    zone: Zone
    prefix: str = ""
    proxy_headers: dict[str, str] = field(default_factory=dict)
    used: bool = False
    splicing: SocketToFile = field(init=False)

    def __post_init__(self) -> None:
        self.splicing = SocketToFile(self.sock)

    def close(self) -> None:
        self.splicing.close()
        self.sock.close()


class Dialer:
    """Opens connections; shared by all readers of a process (thread-safe)."""

    def __init__(self, settings: HttpSettings) -> None:
        self.settings = settings
        self._met: set[tuple[str, int]] = set()  # where a connection has been made

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """The system's trust store (SSL_CERT_FILE and SSL_CERT_DIR are honoured), names verified."""
        return ssl.create_default_context()

    def dial(self, endpoint: Endpoint, allowed: Iterable[Zone] | None = None) -> Connection:
        """Connect. `allowed`: address zones that may be reached (None: all); an address outside gets no packet.

        Raises OriginUnavailable; OriginProtocolError when only forbidden addresses are there.
        """
        proxy = _proxy_for(endpoint)
        if proxy is None:
            sock, zone = self._tcp(endpoint.host, endpoint.port, allowed)
        else:
            zone = zone_of_name(endpoint.host)
            _check_zones(endpoint.host, [zone], allowed)
            sock, _ = self._tcp(proxy.host, proxy.port, None)
        try:
            if endpoint.scheme == "https":
                if proxy is not None:
                    _tunnel(sock, endpoint, proxy)
                sock = self._wrap(sock, endpoint)
        except BaseException:
            sock.close()
            raise
        if proxy is not None and endpoint.scheme == "http":
            return Connection(sock, zone, f"http://{endpoint.authority}", proxy.headers())
        return Connection(sock, zone)

    def _tcp(self, host: str, port: int, allowed: Iterable[Zone] | None) -> tuple[socket.socket, Zone]:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or error
            lasting = isinstance(error, UnicodeError) or is_unknown_name(error)
            meant = WillNotPass if lasting else OriginUnavailable
            raise _unreachable(host, port, f"its name does not resolve ({why})", meant) from error
        permitted = _check_zones(host, (zone_of_name(str(info[4][0])) for info in found), allowed)
        failure: OSError | None = None
        for family, kind, protocol, _, address in found:
            zone = zone_of_name(str(address[0]))
            if zone not in permitted:
                continue
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(self.settings.connect_timeout)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(min(TICK, self.settings.stall_timeout)))
                sock.connect(address)
            except OSError as error:
                sock.close()
                failure = error
                continue
            sock.settimeout(self.settings.stall_timeout)
            self._met.add((host, port))
            return sock, zone
        assert failure is not None
        stranger = refusal(failure) and (host, port) not in self._met
        meant = StrangerRefuses if stranger else OriginUnavailable
        raise _unreachable(host, port, str(failure.strerror or failure), meant) from failure

    def _wrap(self, sock: socket.socket, endpoint: Endpoint) -> ssl.SSLSocket:
        try:
            return self.tls.wrap_socket(sock, server_hostname=endpoint.host)
        except ssl.SSLCertVerificationError as error:
            raise CertificateRefused(
                f"{endpoint.authority}: its certificate is not trusted here ({error.verify_message}).",
                remedy="Set SSL_CERT_FILE to a bundle with its certificate authority.",
            ) from error
        except OSError as error:
            if isinstance(error, ssl.SSLError) and error.reason in _NO_TLS:
                raise OriginUnavailable(
                    f"{endpoint.authority} was asked by TLS and does not speak it.",
                    remedy=f"Check the port. Where it is to be asked in plain HTTP: --plain-http {endpoint.authority}, "
                    "or http:// in HF_ENDPOINT.",
                ) from error
            raise _unreachable(endpoint.host, endpoint.port, f"TLS failed ({error})") from error


class WillNotPass(OriginUnavailable):
    """Trying again will not help."""


class StrangerRefuses(OriginUnavailable):
    """No connection is to be had where this process never had one."""


class CertificateRefused(WillNotPass):
    """A certificate that does not verify."""


# --- proxies -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Proxy:
    host: str
    port: int
    authorization: str

    def headers(self) -> dict[str, str]:
        return {"Proxy-Authorization": self.authorization} if self.authorization else {}


def _proxy_for(endpoint: Endpoint) -> _Proxy | None:
    """From HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    import urllib.request  # which takes longer than a glance at a hub

    proxies = urllib.request.getproxies_environment()
    url = proxies.get(endpoint.scheme) or proxies.get("all")
    if not url or urllib.request.proxy_bypass(endpoint.authority):
        return None
    split = urlsplit(url if "://" in url else f"http://{url}")
    try:
        port = split.port or 80
    except ValueError:
        port = 0
    if split.scheme != "http" or not split.hostname or not port:
        raise WillNotPass(
            f"{endpoint.authority}: the proxy {split.scheme}://{split.hostname or '?'} is not an http:// proxy.",
            remedy="Set HTTPS_PROXY to http://host:port, or add the origin to NO_PROXY.",
        )
    authorization = ""
    if split.username is not None:
        user = f"{unquote(split.username)}:{unquote(split.password or '')}"
        authorization = "Basic " + base64.b64encode(user.encode()).decode()
    return _Proxy(split.hostname, port, authorization)


def _tunnel(sock: socket.socket, endpoint: Endpoint, proxy: _Proxy) -> None:
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    lines = [f"CONNECT {host}:{endpoint.port} HTTP/1.1", f"Host: {host}:{endpoint.port}"]
    lines += [f"{name}: {value}" for name, value in proxy.headers().items()]
    answer = b""
    stall = sock.gettimeout()
    until = time.monotonic() + (stall or 0)
    with suppress(OSError):
        sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("ascii"))
        while b"\r\n\r\n" not in answer and len(answer) < _MAX_CONNECT_ANSWER:
            sock.settimeout(max(0.001, until - time.monotonic()))  # for the whole answer, however it drips
            part = sock.recv(4096)  # nothing follows the answer before our TLS hello
            if not part:
                break
            answer += part
    sock.settimeout(stall)
    head, end, _ = answer.partition(b"\r\n\r\n")
    status = head.split(b"\r\n")[0].decode("latin-1").split(" ", 1)[-1] if end else ""
    if not status.startswith("200"):
        raise OriginUnavailable(
            f"{endpoint.authority}: the proxy {proxy.host}:{proxy.port} opens no tunnel ({status or 'no answer'}).",
            remedy="Check HTTPS_PROXY and its credentials, or add the origin to NO_PROXY.",
        )


# --- addresses -----------------------------------------------------------------------------------------------------


def _check_zones(host: str, zones: Iterable[Zone], allowed: Iterable[Zone] | None) -> set[Zone]:
    """Those of `zones` that may be reached. Raises OriginProtocolError when none may."""
    found = set(zones)
    permitted = found if allowed is None else found & set(allowed)
    if not permitted:
        names = " or ".join(sorted(zone.value for zone in found))
        raise OriginProtocolError(
            f"{host}: a redirect leads to a {names} address, deeper into the network than its origin.",
            remedy="If that is meant, name the inner host in the reference itself.",
        )
    return permitted


def _timeval(seconds: float) -> bytes:
    return struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))


def _unreachable(
    host: str, port: int, why: str, kind: type[OriginUnavailable] = OriginUnavailable
) -> OriginUnavailable:
    shown = f"[{host}]" if _is_ipv6(host) else host
    return kind(
        f"{shown}:{port} cannot be reached: {why}.", remedy="Check the name, the network and the proxy settings."
    )


def _is_ipv6(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).version == 6
    return False
