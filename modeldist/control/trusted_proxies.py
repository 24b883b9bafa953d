"""Who is believed where a client is: reverse proxies that whoever runs the control plane has named, and nobody else.

What they say is read by uvicorn: of `X-Forwarded-For`, from the right, the first address that is no such proxy's."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import AfterValidator

from modeldist.origins.listed import LISTED


def _checked(proxies: tuple[str, ...]) -> tuple[str, ...]:
    """uvicorn takes anything, and then trusts nobody without saying so, or with `*` everybody."""
    for proxy in proxies:
        try:
            ipaddress.ip_network(proxy)
        except ValueError:
            raise ValueError(f"{proxy!r} is no address (10.0.0.5) or network (10.0.0.0/8)") from None
    return proxies


PROXIES = Annotated[LISTED, AfterValidator(_checked)]


def trusted(proxies: tuple[str, ...]) -> list[str]:
    """With what IPv4 addresses look like where one socket listens to both families."""
    networks = [ipaddress.ip_network(proxy) for proxy in proxies]
    mapped = [
        f"::ffff:{network.network_address}/{96 + network.prefixlen}"
        for network in networks
        if isinstance(network, ipaddress.IPv4Network)
    ]
    return [*map(str, networks), *mapped]
