"""`modeldist modelfile`"""

from __future__ import annotations

from pathlib import Path

import click

from modeldist.agent.this_node import Node
from modeldist.cli import options
from modeldist.cli.boundary import Command
from modeldist.cli.terminal import clean, put, put_json, say
from modeldist.errors import UsageError


@click.group()
def modelfile() -> None:
    """Modelfiles: which files make a model, and what it is.

    \b
    Example:
      modeldist modelfile generate ./my-model
    """


@modelfile.command(cls=Command)
@click.argument("source", metavar="[DIR|hf://…|modelscope://…]", required=False, default=".")
@click.option("--name", "-n", default="", metavar="NAME", help="The model's name. [default: what its files say]")
@click.option("--arch", default="", metavar="ARCH", help="Its architecture, such as transformer.")
@click.option("--family", default="", metavar="FAMILY", help="Its family, such as qwen2.")
@click.option("--format", "form", default="", metavar="FORMAT", help="Its format, such as safetensors.")
@click.option("--param-size", default="", metavar="SIZE", help="Its number of parameters, such as 0.6b.")
@click.option("--precision", default="", metavar="PRECISION", help="Its precision, such as bfloat16.")
@click.option("--quantization", default="", metavar="METHOD", help="Its quantization, such as awq.")
@click.option("--output", "-O", type=options.PATH, metavar="DIR", help="Where to write it. [default: in DIR]")
@click.option("--overwrite", is_flag=True, help="Replace the Modelfile that is there.")
@click.option("--model-url", default="", metavar="REF", help="Generate for this model of a hub: hf://org/name.")
@click.option(
    "--provider",
    "-p",
    type=click.Choice(["huggingface", "modelscope", "mlflow"]),
    help="The hub that a --model-url without a scheme is of.",
)
@click.option("--download-dir", type=options.PATH, metavar="DIR", help="Also put its files into this directory.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Leave these files out (repeatable).")
@click.option("--include", multiple=True, metavar="GLOB", help="Bring back hidden files (repeatable).")
@options.as_json
@options.node_options("registry", "plain_http", "hf_endpoint", "policy", "store", "hub", "socket", "agent")
def generate(
    source: str,
    name: str,
    arch: str,
    family: str,
    form: str,
    param_size: str,
    precision: str,
    quantization: str,
    output: Path | None,
    overwrite: bool,
    model_url: str,
    provider: str | None,
    download_dir: Path | None,
    exclude: tuple[str, ...],
    include: tuple[str, ...],
    as_json: bool,
    here: Node,
) -> None:
    """Write a Modelfile for a directory, to be looked over and built.

    Kinds of files go by their names; what the model is by its config.json and the headers of its weights. Of a model of
    a hub, the Modelfile goes to the working directory.

    \b
    Example:
      modeldist modelfile generate ./my-model --name my-model
      modeldist build ./my-model -f Modelfile -t registry.example/org/my-model:v1
    """
    from modeldist.agent.store.failures import naming
    from modeldist.cli.bringing import brought, is_remote
    from modelpack.modelfile import Excludes, Modelfile, generate_modelfile

    reference = _reference(model_url, provider) if model_url else source if is_remote(source) else ""
    directory = brought(reference, here, quiet=False) if reference else Path(source)
    if reference and download_dir:
        from modeldist.cli.extracting import copied

        copied(directory, download_dir.expanduser())
        directory = download_dir.expanduser()
    place = output or (Path() if reference else directory)
    target = place / "Modelfile"
    if target.exists() and not overwrite:
        raise UsageError(f"{target} is there already.", remedy="Give --overwrite to replace it, or another --output.")
    given = Modelfile(
        name=name,
        arch=arch,
        family=family,
        format=form,
        paramsize=param_size,
        precision=precision,
        quantization=quantization,
    )
    named = reference.partition("@")[0].rpartition("/")[2]
    made = generate_modelfile(directory, given, excludes=Excludes(exclude, include), follow=_follow(here), name=named)
    with naming("write", target):
        place.mkdir(parents=True, exist_ok=True)
        target.write_text(made.modelfile.text(), encoding="utf-8")
    for warning in made.warnings:
        say(f"modeldist: {clean(warning)}")
    if as_json:
        patterns = [{"command": pattern.command, "path": pattern.glob} for pattern in made.modelfile.patterns]
        put_json({"path": str(target), "directory": str(directory), "files": patterns, "warnings": made.warnings})
    else:
        put(str(target))


def _follow(here: Node) -> tuple[Path, ...]:
    """Where links of a snapshot may lead: into the store."""
    return (here.store,)


def _reference(url: str, provider: str | None) -> str:
    """A --model-url in this program's words."""
    if "://" in url and not url.startswith(("http://", "https://")):
        return url
    bare = url.partition("://")[2].partition("/")[2] if "://" in url else url
    if provider == "modelscope" or "modelscope" in url.partition("://")[2].partition("/")[0]:
        return f"modelscope://{'/'.join(bare.partition('?')[0].removeprefix('models/').split('/')[:2])}"
    if provider == "mlflow":
        return f"models://{bare}"
    name, _, revision = bare.strip("/").partition("/tree/")
    return f"hf://{name}{'@' * bool(revision)}{revision}"
