"""Whether the control plane of this container answers: the HEALTHCHECK of its image.

It is asked on loopback, where its certificate is for another name: nothing secret is sent, and `ok` is all it says.
"""

from __future__ import annotations

import ssl
import sys
from urllib.request import urlopen

from modeldist.control.settings import ServerSettings


def main() -> int:
    settings = ServerSettings.load()
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    url = f"{'https' if settings.tls else 'http'}://127.0.0.1:{settings.port}/healthz"
    try:
        with urlopen(url, timeout=4, context=unverified if settings.tls else None) as answer:  # noqa: S310 - loopback
            return 0 if answer.status == 200 else 1
    except OSError as error:
        print(f"{url}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
