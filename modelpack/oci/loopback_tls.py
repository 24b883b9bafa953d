"""Whether a registry on this machine speaks TLS: nothing in its name says so, and it may be either."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

_SECONDS = 5.0  # for a handshake within this machine
_REFUSALS = ("ALERT", "CERTIFICATE")  # of a server that speaks TLS, and not with us


async def speaks_tls(host: str, port: int) -> bool:
    """By a handshake that trusts anybody and after which nothing is said."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except ssl.SSLError as error:
        return any(word in (error.reason or "") for word in _REFUSALS)
    except OSError:  # a TimeoutError is one
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
