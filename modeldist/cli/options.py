"""Options that several commands share, as decorators. `node_options` hands the command the Node they describe."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from modeldist.agent.this_node import node

Function = Callable[..., Any]
Decorator = Callable[[Function], Function]

PATH = click.Path(path_type=Path)

as_json: Decorator = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
quiet: Decorator = click.option("--quiet", "-q", is_flag=True, help="Say nothing on stderr but errors.")
verbose: Decorator = click.option(
    "--verbose", "-v", is_flag=True, help="Tell on stderr what happens, also without a terminal."
)
store: Decorator = click.option(
    "--store",
    type=PATH,
    metavar="DIR",
    help="Store directory. [env: MODELDIST_STORE; ~/.cache/modeldist]",
)
hub: Decorator = click.option(
    "--hub", type=PATH, metavar="DIR", help="Hugging Face cache the snapshots go to. [default: in the store]"
)
socket: Decorator = click.option(
    "--socket", type=PATH, metavar="PATH", help="The local agent's socket. [env: MODELDIST_SOCKET]"
)
use_agent: Decorator = click.option(
    "--agent/--no-agent",
    "agent",
    default=None,
    help="Insist on the local agent, or do without. [default: the agent, if it runs and --store, --hub and the options "
    "of origins are not given]",
)
registry: Decorator = click.option(
    "--registry", metavar="HOST", help="Registry of references without one. [env: MODELDIST_REGISTRY; docker.io]"
)
plain_http: Decorator = click.option(
    "--plain-http", multiple=True, metavar="HOST", help="Speak to this registry or web server without TLS (repeatable)."
)
hf_endpoint: Decorator = click.option(
    "--hf-endpoint", metavar="URL", help="Hugging Face endpoint. [env: HF_ENDPOINT; its token: HF_TOKEN]"
)
policy: Decorator = click.option(
    "--policy",
    type=PATH,
    metavar="FILE",
    envvar="MODELDIST_POLICY",
    help="Which signatures a model needs; without them nothing of it is read. [env: MODELDIST_POLICY]",
)
server: Decorator = click.option(
    "--server", metavar="URL", help="The control plane, or its replicas: URL,URL. [env: MODELDIST_SERVER]"
)


# Not on the command line itself, which every user of a machine can read.
token: Decorator = click.option(
    "--token-file",
    "token",
    type=PATH,
    metavar="FILE",
    help="Holds a token for it. [env: MODELDIST_TOKEN, the token itself]",
)
file_root: Decorator = click.option(
    "--file-root",
    type=PATH,
    multiple=True,
    metavar="DIR",
    help="Directory that file:// and oci-layout: may name (repeatable).",
)
log_format: Decorator = click.option(
    "--log-format",
    type=click.Choice(["console", "json"]),
    help="For people, or JSON, one event a line. [default: console]",
)
log_json: Decorator = click.option("--log-json", is_flag=True, default=None, help="The same as --log-format json.")
log_level: Decorator = click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error.")

_OF_A_NODE = {
    "registry": registry,
    "plain_http": plain_http,
    "hf_endpoint": hf_endpoint,
    "policy": policy,
    "store": store,
    "hub": hub,
    "socket": socket,
    "agent": use_agent,
}


def node_options(*names: str) -> Decorator:
    """The options of `names`; the command gets `here`, the Node they and the environment describe."""

    def decorate(function: Function) -> Function:
        @wraps(function)
        def command(**given: Any) -> Any:
            about = {name: given.pop(name) for name in names}
            return function(here=node(**about), **given)

        optioned: Function = command
        for name in reversed(names):
            optioned = _OF_A_NODE[name](optioned)
        return optioned

    return decorate
