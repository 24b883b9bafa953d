"""Reaching a control plane: its address, a token for it, a client."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from modeldist.errors import ControlPlaneRefused, UsageError

if TYPE_CHECKING:
    from modeldist.control.client import ControlClient


def server_url(given: str | None) -> str | None:
    """`--server`, else MODELDIST_SERVER."""
    return given or os.environ.get("MODELDIST_SERVER") or None


def client(url: str | None, token: str | None) -> ControlClient:
    """A client to use as `async with`. Raises UsageError without an address, ControlPlaneRefused without a token."""
    if not (found := server_url(url)):
        raise UsageError("No control plane is named.", remedy="Give --server URL or set MODELDIST_SERVER.")
    if "://" not in found:
        raise UsageError(f"{found!r} is no URL.", remedy="Write it like https://control:7420.")
    from modeldist.control.client import ControlClient

    return ControlClient(found, token or os.environ.get("MODELDIST_TOKEN") or _admin_token())


def _admin_token() -> str:
    """What `modeldist server` wrote on this machine."""
    from modeldist.control.settings import default_state_dir

    path = default_state_dir() / "admin.token"
    try:
        return path.read_text().strip()
    except OSError:
        raise ControlPlaneRefused(
            f"There is no token to show to the control plane, and none in {path}.",
            remedy="Give --token or set MODELDIST_TOKEN; `modeldist server` wrote one into its state directory.",
        ) from None
