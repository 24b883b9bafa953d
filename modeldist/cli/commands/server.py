"""`modeldist server`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from modeldist.cli import options, units
from modeldist.cli.boundary import Command


@click.command(cls=Command)
@click.option("--host", metavar="ADDRESS", help="Where to listen. [default: 127.0.0.1]")
@click.option("--port", type=int, help="Its port; 0 takes a free one. [default: 7420]")
@click.option(
    "--state-dir", type=options.PATH, metavar="DIR", help="Database, tokens. [default: ~/.local/state/modeldist]"
)
@click.option("--database-url", metavar="URL", help="Another database: postgresql://…; replicas share one.")
@click.option("--advertise", metavar="URL", help="URL of this replica, for others to name. [where it listens]")
@click.option("--migrate-to", metavar="REVISION", help="Bring the database there (head, 0005), and do not run.")
@click.option("--tls-cert", type=options.PATH, metavar="FILE", help="Certificate chain (PEM).")
@click.option("--tls-key", type=options.PATH, metavar="FILE", help="Its private key (PEM).")
@click.option("--allow-plain-http", is_flag=True, default=None, help="Listen beyond this machine without TLS.")
@click.option(
    "--piece-tls",
    type=click.Choice(["off", "prefer", "require"]),
    help="TLS between nodes. prefer: with those that are enrolled; require: all must be. [default: off]",
)
@options.registry
@options.plain_http
@options.file_root
@click.option(
    "--webhook-host", multiple=True, metavar="HOST", help="Where webhooks may go beside public addresses: 10.0.0.0/8."
)
@click.option(
    "--trusted-proxy",
    multiple=True,
    metavar="ADDRESS",
    help="A reverse proxy whose X-Forwarded-For says where clients are: 10.0.0.0/8. [default: none]",
)
@click.option("--policy", type=options.PATH, metavar="FILE", help="Which signatures a model needs.")
@click.option(
    "--release-key",
    type=options.PATH,
    metavar="FILE",
    help="The public key of releases that it may update itself to. [default: none]",
)
@click.option("--origin-streams", type=int, metavar="N", help="Concurrent reads of one origin by all. [default: 64]")
@click.option("--origin-rate", metavar="SIZE", help="Bytes per second of one origin, all nodes: 2GB. [unlimited]")
@click.option(
    "--measure-links/--no-measure-links",
    default=None,
    help="Have idle nodes measure how fast their links are. [default: on]",
)
@options.log_format
@options.log_json
@options.log_level
def server(
    registry: str | None,
    plain_http: tuple[str, ...],
    file_root: tuple[Path, ...],
    webhook_host: tuple[str, ...],
    trusted_proxy: tuple[str, ...],
    origin_rate: str | None,
    migrate_to: str | None,
    log_format: str | None,
    log_json: bool | None,
    **settings: Any,
) -> None:
    """Run the control plane.

    Every option can also be an environment variable MODELDIST_SERVER_<NAME>. The first start writes an admin and an
    agent token into the state directory.

    \b
    Example:
      modeldist server --host 0.0.0.0 --tls-cert server.pem --tls-key server.key
    """
    from modeldist.control.server import migrate_database, serve
    from modeldist.control.settings import ServerSettings
    from modeldist.upgrade.versions import RESTART

    loaded = ServerSettings.load(
        default_registry=registry,
        plain_http_registries=plain_http or None,
        file_roots=file_root or None,
        webhook_hosts=webhook_host or None,
        trusted_proxies=trusted_proxy or None,
        origin_rate=None if origin_rate is None else float(units.parse_size(origin_rate)),
        log_format="json" if log_json else log_format,
        **settings,
    )
    if migrate_to is None:
        if serve(loaded):
            raise SystemExit(RESTART)
        return
    before, now = migrate_database(loaded, migrate_to)
    click.echo(f"The database was at revision {before or 'none'} and is at {now}.", err=True)
