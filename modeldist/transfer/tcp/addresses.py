"""`host:port`, with IPv6 hosts in brackets."""

from __future__ import annotations


def split_address(address: str) -> tuple[str, int]:
    """Raises OSError with a sentence when `address` is not host:port."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise OSError(f"{address[:200]!r} is not the address of a parent (host:port).")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    return host, int(port)


def join_address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
