"""modelpack's registry client with this program's settings."""

from __future__ import annotations

import httpx2

from modeldist.origins.http_dialing import Dialer
from modeldist.origins.http_session import USER_AGENT
from modeldist.origins.settings import OriginSettings
from modelpack.oci.client import RegistryClient
from modelpack.oci.credentials import DockerCredentials
from modelpack.oci.retry import RetryPolicy


def open_client(settings: OriginSettings, dialer: Dialer) -> RegistryClient:
    """A client with the same patience, trust and credentials as the readers have."""
    http = settings.http
    return RegistryClient(
        credentials=settings.registry_credentials or DockerCredentials.from_environment(),
        plain_http=settings.plain_http,
        user_agent=USER_AGENT,
        timeout=httpx2.Timeout(http.stall_timeout, connect=http.connect_timeout, pool=None),
        retry=RetryPolicy(http.retries + 1, http.backoff, http.backoff_cap, http.retry_after_cap, http.answer_patience),
        answer=http.answer_timeout,
        verify=dialer.tls,
    )
