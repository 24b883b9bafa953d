"""`modeldist agent`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modeldist.cli import options, units
from modeldist.cli.key_values import key_values
from modeldist.errors import UsageError

if TYPE_CHECKING:
    from modeldist.agent.settings import AgentSettings


def agent(
    control: Annotated[
        str | None, typer.Option(metavar="URL", help="The control plane. [default: http://127.0.0.1:7420]")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Holds the agent token that `modeldist server` wrote.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What people call this node. [default: the host's name]")] = None,
    rack: Annotated[str | None, typer.Option(help="Nodes of one rack fetch from each other first.")] = None,
    zone: Annotated[str | None, typer.Option(help="Then nodes of one zone.")] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="For preheat (repeatable).")] = None,
    store: options.StorePath = None,
    hub: options.HubPath = None,
    socket: options.SocketPath = None,
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where pieces are served. [default: 127.0.0.1:0]")
    ] = None,
    advertise: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="What other nodes connect to, if that differs.")
    ] = None,
    origin_streams: Annotated[
        int | None, typer.Option(metavar="N", help="Concurrent origin reads of this node. [default: 4]")
    ] = None,
    upload_rate: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Bytes per second served to others: 1GB. [unlimited]")
    ] = None,
    registry: options.DefaultRegistry = None,
    plain_http: options.PlainHttp = None,
    hf_endpoint: options.HfEndpoint = None,
    file_root: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Directory that file:// and oci-layout: may read (repeatable)."),
    ] = None,
    log_json: Annotated[bool | None, typer.Option("--log-json", help="Log JSON, one event a line.")] = None,
    log_level: Annotated[str | None, typer.Option(metavar="LEVEL", help="debug, info, warning or error.")] = None,
) -> None:
    """Run this node's agent.

    It pulls for this machine and serves pieces to other nodes.

    Every option can also be an environment variable MODELDIST_AGENT_<NAME>; the token also MODELDIST_AGENT_TOKEN.

    \b
    Example:
      modeldist agent --control https://control:7420 --token-file agent.token --listen 10.0.0.5:7421
    """
    import asyncio

    from modeldist.agent.daemon import run_agent
    from modeldist.control.logs import configure_logging

    settings = agent_settings(
        control=control,
        token_file=token_file,
        name=name,
        rack=rack,
        zone=zone,
        labels=key_values(label, "--label") if label else None,
        store=store,
        hub=hub,
        socket=socket,
        listen=listen,
        advertise=advertise,
        origin_streams=origin_streams,
        upload_rate=None if upload_rate is None else float(units.parse_size(upload_rate)),
        default_registry=registry,
        plain_http=plain_http or None,
        hf_endpoint=hf_endpoint,
        file_roots=file_root or None,
        log_json=log_json,
        log_level=log_level,
    )
    configure_logging("json" if settings.log_json else "console", settings.log_level)
    asyncio.run(run_agent(settings))


def agent_settings(**given: Any) -> AgentSettings:
    """Settings of the options given (None: not given) and the environment. Raises UsageError."""
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from modeldist.agent.settings import AgentSettings

    try:
        settings = AgentSettings(**{key: value for key, value in given.items() if value is not None})
        settings.secret()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise _wrong(name, first["msg"]) from None
    except SettingsError as error:
        raise UsageError(f"The environment is wrong: {error}.", remedy="Lists and labels are JSON there.") from None
    except OSError as error:
        raise _wrong("token_file", str(error)) from None
    if settings.log_level not in ("debug", "info", "warning", "error"):
        raise _wrong("log_level", f"{settings.log_level!r} is none of debug, info, warning, error")
    return settings


def _wrong(name: str, problem: str) -> UsageError:
    return UsageError(
        f"The setting {name} is wrong: {problem}.",
        remedy=f"Correct it on the command line or in MODELDIST_AGENT_{name.upper()}.",
    )
