"""Reaching a control plane: its address, a token for it, a client."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from modeldist.errors import ControlPlaneRefused, UsageError
from modeldist.session.addresses import addresses

if TYPE_CHECKING:
    from modeldist.client import AsyncClient

ORIGINS = 330.0  # seconds that a control plane may say nothing where it waits for origins or nodes
ITS_OWN = 5.0  # where it tells what it knows


def server_url(given: str | None) -> str | None:
    """`--server`, else MODELDIST_SERVER."""
    return given or os.environ.get("MODELDIST_SERVER") or None


def control_url(given: str | None) -> str:
    """Also without either, where `modeldist server` wrote its token on this machine: its default address. Raises
    UsageError."""
    if not (found := server_url(given) or _of_this_machine()):
        raise UsageError("No control plane is named.", remedy="Give --server URL or set MODELDIST_SERVER.")
    for url in addresses(found) or ("",):
        if not names_a_server(url):
            raise UsageError(f"{url!r} is no URL of a control plane.", remedy="Write it like https://control:7420.")
    return found


def names_a_server(url: str) -> bool:
    """Whether it is a URL of a host and a port that can exist."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host.encode("idna")  # as the system's resolver does; it takes labels of 1 to 63 bytes
    except ValueError:
        return False
    return parts.scheme in ("http", "https", "ws", "wss") and bool(host) and port != 0


def _of_this_machine() -> str | None:
    from modeldist.control.settings import DEFAULT_PORT

    return f"http://127.0.0.1:{DEFAULT_PORT}" if _token_file().exists() else None


def client(
    url: str | None, token: Path | None, patience: float | None = None, *, timeout: float = ORIGINS
) -> AsyncClient:
    """A client to use as `async with`; `token` is a file that holds one. `patience`: seconds for which a control plane
    without room is asked again, else MODELDIST_PATIENCE. `timeout`: seconds that it may say nothing. Raises UsageError
    without an address, or when the file holds none; ControlPlaneRefused without a token."""
    found = control_url(url)
    from modeldist.client import AsyncClient

    given = _read(token) if token else os.environ.get("MODELDIST_TOKEN")
    patience = _patience() if patience is None else patience
    return AsyncClient(found, given or _admin_token(), timeout=timeout, patience=patience)


def token_for(token: Path | None) -> str:
    """The token that `client` would show, empty where there is none. Raises UsageError when the file holds none."""
    if token is not None:
        return _read(token)
    try:
        return os.environ.get("MODELDIST_TOKEN") or _admin_token()
    except ControlPlaneRefused:
        return ""


def _patience() -> float:
    from modeldist.session.asking_again import PATIENCE

    given = os.environ.get("MODELDIST_PATIENCE") or str(PATIENCE)
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < math.inf:
        raise UsageError(f"MODELDIST_PATIENCE is {given!r}.", remedy="Set it to a number of seconds, like 60.")
    return seconds


def _read(path: Path) -> str:
    try:
        held = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The token file {path} cannot be read: {error}.", remedy="Correct --token-file.") from error
    if not held.isascii() or not held.isprintable() or len(held.split()) != 1:
        raise UsageError(f"The file {path} holds no token, which is one word.", remedy="Correct --token-file.")
    return held


def _token_file() -> Path:
    """What `modeldist server` wrote on this machine."""
    from modeldist.control.settings import default_state_dir

    return default_state_dir() / "admin.token"


def _admin_token() -> str:
    path = _token_file()
    try:
        return path.read_text().strip()
    except OSError:
        raise ControlPlaneRefused(
            f"There is no token to show to the control plane, and none in {path}.",
            remedy="Give --token-file or set MODELDIST_TOKEN; `modeldist server` wrote one into its state directory.",
        ) from None
