"""`modeldist server`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modeldist.cli import options, units


def server(
    host: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Where to listen. [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Its port; 0 takes a free one. [default: 7420]")] = None,
    state_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Database and tokens. [default: ~/.local/state/modeldist]")
    ] = None,
    database_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Another database, postgresql+asyncpg://…", show_default=False)
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(metavar="FILE", help="Certificate chain (PEM).")] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its private key (PEM).")] = None,
    allow_plain_http: Annotated[
        bool | None, typer.Option("--allow-plain-http", help="Listen beyond this machine without TLS.")
    ] = None,
    registry: options.DefaultRegistry = None,
    plain_http: options.PlainHttp = None,
    file_root: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Directory that file:// and oci-layout: may name (repeatable)."),
    ] = None,
    origin_streams: Annotated[
        int | None, typer.Option(metavar="N", help="Concurrent reads of one origin, all nodes together. [default: 64]")
    ] = None,
    origin_rate: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Bytes per second of one origin, all nodes: 2GB. [unlimited]")
    ] = None,
    log_json: Annotated[bool | None, typer.Option("--log-json", help="Log JSON, one event a line.")] = None,
    log_level: Annotated[str | None, typer.Option(metavar="LEVEL", help="debug, info, warning or error.")] = None,
) -> None:
    """Run the control plane.

    Every option can also be an environment variable MODELDIST_SERVER_<NAME>. The first start writes an admin and an
    agent token into the state directory.

    \b
    Example:
      modeldist server --host 0.0.0.0 --tls-cert server.pem --tls-key server.key
    """
    from modeldist.control.server import serve
    from modeldist.control.settings import ServerSettings

    serve(
        ServerSettings.load(
            host=host,
            port=port,
            state_dir=state_dir,
            database_url=database_url,
            tls_cert=tls_cert,
            tls_key=tls_key,
            allow_plain_http=allow_plain_http,
            default_registry=registry,
            plain_http_registries=tuple(plain_http) if plain_http else None,
            file_roots=tuple(file_root) if file_root else None,
            origin_streams=origin_streams,
            origin_rate=None if origin_rate is None else float(units.parse_size(origin_rate)),
            log_format="json" if log_json else None,
            log_level=log_level,
        )
    )
