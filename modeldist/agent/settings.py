"""The agent's settings: environment variables MODELDIST_AGENT_*, or flags of `modeldist agent`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from modeldist.agent.amounts import parse_duration
from modeldist.agent.config import default_socket, default_store
from modeldist.agent.scrubbing import Pace
from modeldist.agent.store.watermarks import Watermarks, watermarks
from modeldist.errors import UsageError
from modeldist.origins.listed import LISTED, LISTED_PATHS
from modeldist.transfer.verbs.rails import MEMORY, SLOT

SHORTEST_TOKEN = 16  # characters


class AgentSettings(BaseSettings):
    """`control` is the control plane's URL, or those of its replicas with commas between them, and `token` the agents'
    token that `modeldist server` wrote; or `join_token` one that `modeldist token join` printed, which is looked at
    until the node is enrolled. `listen` is where pieces are served: loopback unless told otherwise; `advertise` is what
    other nodes connect to when that differs."""

    model_config = SettingsConfigDict(env_prefix="MODELDIST_AGENT_", extra="ignore")

    control: str = "http://127.0.0.1:7420"
    token: SecretStr = SecretStr("")
    token_file: Path | None = None
    join_token: SecretStr = SecretStr("")
    join_token_file: Path | None = None
    name: str = ""
    rack: str = ""
    zone: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    store: Path = Field(default_factory=default_store)
    hub: Path | None = None
    socket: Path = Field(default_factory=default_socket)
    listen: str = "127.0.0.1:0"
    advertise: str = ""
    gateway: str = ""  # host:port of the drop-in endpoints; empty: none
    metrics: str = ""  # host:port where Prometheus reads; empty: nowhere
    metrics_token_file: Path | None = None  # what it has to give there
    mirror: LISTED = ()  # registries that the gateway mirrors; none: the default one
    origin_streams: int = Field(default=4, ge=1, le=64)
    upload_rate: float | None = Field(default=None, gt=0, description="bytes/s")
    download_rate: float | None = Field(default=None, gt=0, description="bytes/s")
    high_watermark: str = ""  # 90% of the disk, or a size of the store; empty: nothing is evicted
    low_watermark: str = ""  # down to which is evicted; empty: nine tenths of the high one
    scrub_every: str = "7d"  # everything is read again so often; "off"
    scrub_rate: float | None = Field(default=None, gt=0, description="bytes/s")
    rdma: Literal["auto", "off"] = "auto"
    rdma_devices: LISTED = ()  # all that can be used, when it is empty
    rdma_memory: int = Field(default=MEMORY, ge=2 * SLOT, description="bytes pinned for each device")
    default_registry: str = "docker.io"
    plain_http: LISTED = ()  # registries spoken to without TLS
    hf_endpoint: str = ""
    file_roots: LISTED_PATHS = ()  # directories that file:// and oci-layout: references may name
    patience: float = Field(
        default=600.0, ge=0, description="seconds; a control plane without room is asked again so long"
    )
    policy: Path | None = None  # file that says which signatures a model needs
    release_key: Path | None = None  # public half of the key that releases of this program are signed with
    log_level: str = "info"
    log_format: Literal["console", "json"] = "console"
    log_json: bool = False  # the same, said shorter

    @property
    def joins(self) -> bool:
        """Whether a join token is given."""
        return bool(self.join_token.get_secret_value()) or self.join_token_file is not None

    def join_secret(self) -> str:
        """The join token, from `join_token` or the file that holds it. Raises OSError."""
        if self.join_token.get_secret_value() or self.join_token_file is None:
            return self.join_token.get_secret_value()
        return self.join_token_file.read_text().strip()

    def watermarks(self) -> Watermarks | None:
        """Raises UsageError."""
        return watermarks(self.high_watermark, self.low_watermark)

    def scrub_pace(self) -> Pace | None:
        """None where it is off. Raises UsageError."""
        if self.scrub_every.strip().lower() in ("off", "never"):
            return None
        every = parse_duration(self.scrub_every)
        if every <= 0:
            raise UsageError(
                f"Everything cannot be read again every {self.scrub_every}.", remedy="Write it like 7d, or `off`."
            )
        return Pace(every, self.scrub_rate)

    def secret(self) -> str:
        """The token, from `token` or the file that holds it."""
        if self.token.get_secret_value():
            return self.token.get_secret_value()
        return self.token_file.read_text().strip() if self.token_file else ""

    def metrics_token(self) -> str:
        """What a scrape has to give; empty where there are no metrics. Raises UsageError."""
        if not self.metrics:
            return ""
        if self.metrics_token_file is None:
            raise UsageError(
                "--metrics needs --metrics-token-file: nobody reads them without a token.",
                remedy="Write one: `head -c 32 /dev/urandom | base64 > metrics.token`, and give Prometheus the same "
                "file (authorization, credentials_file).",
            )
        try:
            token = self.metrics_token_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"Cannot read --metrics-token-file {self.metrics_token_file}: {error}.",
                remedy="Give one that can be read.",
            ) from None
        if len(token) < SHORTEST_TOKEN:
            raise UsageError(
                f"The token in {self.metrics_token_file} has {len(token)} characters, too few not to be guessed.",
                remedy=f"Make it {SHORTEST_TOKEN} or more: `head -c 32 /dev/urandom | base64`.",
            )
        return token
