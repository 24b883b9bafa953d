"""`modeldist agent`"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from modeldist.cli import options, units
from modeldist.cli.boundary import Command
from modeldist.cli.control_plane import names_a_server
from modeldist.cli.key_values import key_values
from modeldist.errors import UsageError
from modeldist.session.addresses import addresses

if TYPE_CHECKING:
    from modeldist.agent.settings import AgentSettings


@click.command(cls=Command)
@click.option(
    "--control", metavar="URL", help="The control plane, or its replicas: URL,URL. [default: http://127.0.0.1:7420]"
)
@click.option(
    "--token-file",
    type=options.PATH,
    metavar="FILE",
    help="Holds the agent token. [default: what `modeldist server` wrote here]",
)
@click.option(
    "--join-token-file",
    type=options.PATH,
    metavar="FILE",
    help="Holds a join token: the node is enrolled, once, and has a token and a certificate of its own.",
)
@click.option("--name", help="What people call this node. [default: the host's name]")
@click.option("--rack", help="Nodes of one rack fetch from each other first.")
@click.option("--zone", help="Then nodes of one zone.")
@click.option("--label", multiple=True, metavar="KEY=VALUE", help="What preheat can choose by (repeatable).")
@options.store
@options.hub
@options.socket
@click.option("--listen", metavar="HOST:PORT", help="Where pieces are served. [default: 127.0.0.1:0]")
@click.option("--advertise", metavar="HOST:PORT", help="What other nodes connect to, if that differs.")
@click.option(
    "--gateway",
    metavar="HOST:PORT",
    help="Serve drop-in endpoints on loopback: HF_ENDPOINT=http://HOST:PORT, and a mirror of registries. "
    "[default: none]",
)
@click.option(
    "--mirror",
    multiple=True,
    metavar="REGISTRY",
    help="What the gateway mirrors: host[:port] or *.domain (repeatable). [default: what --registry says]",
)
@click.option("--metrics", metavar="HOST:PORT", help="Where Prometheus reads /metrics. [default: nowhere]")
@click.option(
    "--metrics-token-file", type=options.PATH, metavar="FILE", help="Holds the token that it has to give there."
)
@click.option("--origin-streams", type=int, metavar="N", help="Concurrent origin reads of this node. [default: 4]")
@click.option("--upload-rate", metavar="SIZE", help="Bytes per second served to others: 1GB. [unlimited]")
@click.option("--download-rate", metavar="SIZE", help="Bytes per second fetched from anywhere. [unlimited]")
@click.option(
    "--high-watermark",
    metavar="SHARE|SIZE",
    help="Above it, 90% of the disk or 500GiB of models, the least recently used models go for new ones. [never]",
)
@click.option("--low-watermark", metavar="SHARE|SIZE", help="Down to which they go. [nine tenths of the high one]")
@click.option("--scrub-every", metavar="AGE", help="Read all models again so often, when idle: 7d, off. [7d]")
@click.option("--scrub-rate", metavar="SIZE", help="Bytes per second read for that. [50 MB, more if there is much]")
@click.option("--rdma", type=click.Choice(["auto", "off"]), help="Pieces by RDMA where both nodes have it. [auto]")
@click.option("--rdma-device", multiple=True, metavar="NAME", help="Use this RDMA device (repeatable). [all]")
@click.option("--rdma-memory", metavar="SIZE", help="Memory pinned for each RDMA device. [128 MiB]")
@options.registry
@options.plain_http
@options.hf_endpoint
@options.file_root
@click.option("--policy", type=options.PATH, metavar="FILE", help="Which signatures a model needs.")
@click.option(
    "--release-key",
    type=options.PATH,
    metavar="FILE",
    help="The public key of releases that this agent may update itself to. [default: none]",
)
@click.option(
    "--patience",
    type=float,
    metavar="SECONDS",
    help="Ask a control plane without room again for so long. [default: 600]",
)
@options.log_format
@options.log_json
@options.log_level
def agent(
    label: tuple[str, ...],
    upload_rate: str | None,
    download_rate: str | None,
    scrub_rate: str | None,
    rdma_device: tuple[str, ...],
    rdma_memory: str | None,
    mirror: tuple[str, ...],
    registry: str | None,
    plain_http: tuple[str, ...],
    file_root: tuple[Path, ...],
    **given: Any,
) -> None:
    """Run this node's agent.

    It pulls for this machine and serves pieces to other nodes.

    Every option can also be an environment variable MODELDIST_AGENT_<NAME>; the tokens also MODELDIST_AGENT_TOKEN and
    MODELDIST_AGENT_JOIN_TOKEN.

    \b
    Example:
      modeldist agent --control https://control:7420 --token-file agent.token --listen 10.0.0.5:7421

    \b
    With --gateway 127.0.0.1:7430, programs on this machine get Hugging Face models through the agent, unchanged:
      HF_ENDPOINT=http://127.0.0.1:7430 hf download org/model
      skopeo copy --src-tls-verify=false docker://127.0.0.1:7430/org/image:tag oci:image
    """
    import asyncio
    import socket
    from functools import partial

    from modeldist.agent.daemon import log, run_agent
    from modeldist.control.logs import configure_logging
    from modeldist.gateway.app import Gateway
    from modeldist.tracing.exporting import exporting
    from modeldist.upgrade.versions import RESTART

    settings = agent_settings(
        labels=key_values(label, "--label") if label else None,
        upload_rate=None if upload_rate is None else float(units.parse_size(upload_rate)),
        download_rate=None if download_rate is None else float(units.parse_size(download_rate)),
        scrub_rate=None if scrub_rate is None else float(units.parse_size(scrub_rate)),
        rdma_devices=rdma_device or None,
        rdma_memory=None if rdma_memory is None else units.parse_size(rdma_memory),
        mirror=mirror or None,
        default_registry=registry,
        plain_http=plain_http or None,
        file_roots=file_root or None,
        **given,
    )
    configure_logging("json" if settings.log_json else settings.log_format, settings.log_level)
    with exporting("modeldist-agent", log.warning, instance=settings.name or socket.gethostname()):
        restarting = asyncio.run(run_agent(settings, partial(Gateway, registries=settings.mirror)))
    if restarting:
        raise SystemExit(RESTART)


def agent_settings(**given: Any) -> AgentSettings:
    """Settings of the options given (None: not given) and the environment. Raises UsageError."""
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from modeldist.agent.identity import is_enrolled
    from modeldist.agent.settings import AgentSettings
    from modeldist.control.greeting import MAX_NAME

    try:
        settings = AgentSettings(**{key: value for key, value in given.items() if value is not None})
        settings.secret()
        settings.watermarks()
        settings.scrub_pace()
        settings.metrics_token()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise _wrong(name, first["msg"]) from None
    except SettingsError as error:
        raise UsageError(f"The environment is wrong: {error}.", remedy="Lists and labels are JSON there.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong("token_file", str(error)) from None
    for what, text in _said(settings):
        if len(text) > MAX_NAME or not text.isprintable():
            raise _wrong(what, f"{text[:80]!r} is not {MAX_NAME} printable characters or less")
    for url in addresses(settings.control) or ("",):
        if not names_a_server(url if "//" in url else f"http://{url}"):
            raise _wrong("control", f"{url!r} is no URL of a control plane, like https://control:7420")
    if settings.log_level not in ("debug", "info", "warning", "error"):
        raise _wrong("log_level", f"{settings.log_level!r} is none of debug, info, warning, error")
    if settings.mirror and not settings.gateway:
        raise UsageError("--mirror is for the gateway; this agent has none.", remedy="Add --gateway 127.0.0.1:7430.")
    if not settings.joins and not settings.secret() and not is_enrolled(settings.store):
        settings.token_file = token_of_this_machine(settings.control)
    return settings


def _said(settings: AgentSettings) -> Iterator[tuple[str, str]]:
    """What the control plane is told that this node is called, by the settings' names."""
    yield from (("name", settings.name), ("rack", settings.rack), ("zone", settings.zone))
    yield from (("labels", text) for pair in settings.labels.items() for text in pair)


def token_of_this_machine(control: str) -> Path:
    """The agent token that a control plane on this machine wrote. Raises UsageError when there is none to take."""
    from modeldist.control.settings import default_state_dir
    from modelpack.oci.addresses import is_loopback

    path = default_state_dir() / "agent.token"
    if all(is_loopback(urlsplit(url).hostname or "") for url in addresses(control)) and path.exists():
        return path
    raise UsageError(
        "This agent has no token for the control plane.",
        remedy="`modeldist server` wrote one into agent.token in its state directory: give --token-file, or set "
        "MODELDIST_AGENT_TOKEN. Or enrol the node: --join-token-file, with what `modeldist token join` prints.",
    )


def _wrong(name: str, problem: str) -> UsageError:
    return UsageError(
        f"The setting {name} is wrong: {problem}.",
        remedy=f"Correct it on the command line or in MODELDIST_AGENT_{name.upper()}.",
    )
