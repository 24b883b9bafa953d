"""No answer from a control plane, said the same way by agents and by the REST client."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

from modeldist.errors import ControlPlaneUnreachable
from modelpack.oci.unreachable import reason


def unreachable(url: str, error: BaseException) -> ControlPlaneUnreachable:
    """What became of a connection to `url` (http, https, ws or wss), and what to do about it."""
    for cause in _chain(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return ControlPlaneUnreachable(
                f"The control plane at {url} shows a certificate that is not trusted here ({cause.verify_message}).",
                remedy="Set SSL_CERT_FILE to its certificate authority, or correct the host's name.",
            )
    said = (reason(error) or str(error) or type(error).__name__).rstrip(".")
    tls = "" if url.startswith(("https:", "wss:")) else ", and whether it wants https://"
    return ControlPlaneUnreachable(
        f"The control plane at {url} does not answer: {said}.",
        remedy=f"Check that `modeldist server` runs there and that this machine may connect to it{tls}.",
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
