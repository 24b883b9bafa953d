"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_NODE = "Where"
_ORIGIN = "Origins"

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]

StorePath = Annotated[
    Path | None,
    typer.Option("--store", metavar="DIR", help="Store directory. [env: MODELDIST_STORE; default: ~/.cache/modeldist]"),
]
HubPath = Annotated[
    Path | None,
    typer.Option("--hub", metavar="DIR", help="Hugging Face cache the snapshots go to. [default: hub/ in the store]"),
]
SocketPath = Annotated[
    Path | None, typer.Option("--socket", metavar="PATH", help="The local agent's socket. [env: MODELDIST_SOCKET]")
]
UseAgent = Annotated[
    bool | None,
    typer.Option(
        "--agent/--no-agent",
        help="Insist on the local agent, or do without. [default: the agent when it runs and --store, --hub and the "
        "options of origins are not given]",
    ),
]
PlainHttp = Annotated[
    list[str] | None,
    typer.Option("--plain-http", metavar="REGISTRY", help="Speak to this registry without TLS (repeatable)."),
]
DefaultRegistry = Annotated[
    str | None,
    typer.Option(
        "--registry", metavar="HOST", help="Registry of references without one. [env: MODELDIST_REGISTRY; docker.io]"
    ),
]
HfEndpoint = Annotated[
    str | None, typer.Option("--hf-endpoint", metavar="URL", help="Hugging Face endpoint. [env: HF_ENDPOINT]")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Tell on stderr what happens, also without a terminal.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr but errors.")]
Server = Annotated[
    str | None, typer.Option("--server", metavar="URL", help="The control plane. [env: MODELDIST_SERVER]")
]
Token = Annotated[
    str | None,
    typer.Option("--token", metavar="TOKEN", help="Token for it. [env: MODELDIST_TOKEN]", show_default=False),
]
