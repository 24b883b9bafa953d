"""`docker`, `helm` and `kubectl` where there is neither a daemon nor a cluster. Each does what can be done without, and
refuses what the real one, or what it talks to, would: files, targets, services, namespaces and objects that are not
there, manifests that Kubernetes does not know. Helm renders the chart; what is run in a container is run here, with
that container's environment.

    install(folder)                                                # programs that run this file
    python -m tests.deploy.operators_commands STATE kubectl create namespace modeldist

`STATE` is a directory: what there is by now, in `objects.json`.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import yaml

from tests.deploy.helm import ROOT, Document, helm
from tests.deploy.images import DOCKERFILE, IMAGES

CUSTOM = ("monitoring.coreos.com/", "cert-manager.io/")
NAME = re.compile(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?")  # RFC 1123
POD_SECURITY = {"pod-security.kubernetes.io/enforce": ("privileged", "baseline", "restricted")}


def install(folder: Path, state: Path) -> None:
    """Put all three into the first directory of the PATH."""
    state.mkdir(parents=True, exist_ok=True)
    for name in ("docker", "helm", "kubectl"):
        program = folder / name
        words = f"{sys.executable} -P -m tests.deploy.operators_commands {state} {name}"
        others = f'PATH="${{PATH#{folder}:}}"'  # where helm itself is
        program.write_text(f'#!/bin/sh\n{others} PYTHONPATH={ROOT} exec {words} "$@"\n')
        program.chmod(0o755)


class Objects:
    """What the cluster was given, checked by Kubernetes' own schemas."""

    def __init__(self, state: Path) -> None:
        self._file = state / "objects.json"
        self.all: list[Document] = json.loads(self._file.read_text()) if self._file.exists() else []

    def find(self, kind: str, name: str, namespace: str = "") -> Document:
        wanted = (kind, name, namespace)
        found = [each for each in self.all if _named(each) == wanted]
        return found[0] if found else refused(f"{kind.lower()} {name!r} not found")

    def add(self, document: Document, namespace: str = "") -> None:
        if not NAME.fullmatch(name := document["metadata"]["name"]):
            refused(f"{name!r} is no name of an object")
        if namespace:
            self.find("Namespace", namespace)
            document["metadata"]["namespace"] = namespace
        if not document["apiVersion"].startswith(CUSTOM):
            import kubernetes_validate

            kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
        self.all.append(document)

    def save(self) -> None:
        self._file.write_text(json.dumps(self.all))


def _named(document: Document) -> tuple[str, str, str]:
    about = document["metadata"]
    return document["kind"], about["name"], about.get("namespace", "")


def refused(sentence: str) -> NoReturn:
    sys.exit(sentence)


def docker(words: list[str], state: Path) -> None:
    match words:
        case ["build", *options]:
            _build(options)
        case ["compose", *options]:
            _compose(options, state)
        case _:
            refused(f"docker {words} is not known here")


def _build(words: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="docker build", allow_abbrev=False)
    parser.add_argument("-f", type=Path, required=True)
    parser.add_argument("--target", choices=list(IMAGES))
    parser.add_argument("-t", required=True)
    parser.add_argument("context", type=Path)
    given = parser.parse_args(words)
    if given.f.resolve() != DOCKERFILE:
        refused(f"{given.f} is not {DOCKERFILE}")
    stage = IMAGES[given.target or list(IMAGES)[-1]]
    name, _, version = given.t.rpartition(":")
    if (name.rpartition("/")[2], version) != (f"modeldist-{stage.name}", stage.version):
        refused(f"{given.t} is called otherwise in the chart and the compose files")
    for sources, earlier in stage.copied:
        for source in () if earlier else sources:
            if not (given.context / source).exists():
                refused(f"COPY {source}: not found in {given.context}")


def _compose(words: list[str], state: Path) -> None:
    from tests.deploy.test_compose import FOLDER, composed

    parser = argparse.ArgumentParser(prog="docker compose", allow_abbrev=False)
    parser.add_argument("-f", type=Path, action="append", required=True)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", allow_abbrev=False)
    up.add_argument("--build", action="store_true")
    up.add_argument("--detach", action="store_true", required=True)  # else it does not end
    inside = commands.add_parser("exec")
    inside.add_argument("service")
    inside.add_argument("words", nargs=argparse.REMAINDER)
    given = parser.parse_args(words)
    if any(file.resolve().parent != FOLDER for file in given.f):
        refused(f"{given.f}: not found")
    services = composed(*(file.name for file in given.f))
    running = state / "compose.json"
    if given.command == "up":
        for name, service in services.items():
            build = service.get("build")
            if build and (FOLDER / build["context"] / build["dockerfile"]).resolve() != DOCKERFILE:
                refused(f"{name}: no such Dockerfile")
        running.write_text(json.dumps(sorted(services)))
    elif not running.exists() or given.service not in json.loads(running.read_text()):
        refused(f"service {given.service!r} is not running")
    else:
        sys.exit(subprocess.run(program(given.words), check=False).returncode)


def helmed(words: list[str], state: Path) -> None:
    match words:
        case ["install", name, chart, *options]:
            rendered = helm("template", name, chart, *options)
        case _:
            refused(f"helm {words} is not known here")
    if rendered.returncode:
        refused(rendered.stderr)
    parser = argparse.ArgumentParser(prog="helm", allow_abbrev=False)
    parser.add_argument("-n", default="default")
    parser.add_argument("-f")
    namespace = parser.parse_args(options).n
    objects = Objects(state)
    for document in yaml.safe_load_all(rendered.stdout):
        if document:
            objects.add(document, namespace)
    objects.save()


def kubectl(words: list[str], state: Path) -> None:
    objects = Objects(state)
    match words:
        case ["create", "namespace", name]:
            objects.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        case ["label", "namespace", name, label]:
            _label(objects.find("Namespace", name), label)
        case ["-n", namespace, "create", "secret", "generic", name, source]:
            objects.add(_secret(name, source), namespace)
        case ["-n", namespace, "exec", target, "--", *command]:
            from tests.deploy.pods import container

            kind, _, name = target.partition("/")
            if kind not in ("deploy", "deployment"):
                refused(f"there is no pod of {target} here")
            pod = objects.find("Deployment", name, namespace)["spec"]["template"]["spec"]
            inside = container(pod, state / name).environment
            sys.exit(subprocess.run(program(command), env={**os.environ, **inside}, check=False).returncode)
        case _:
            refused(f"kubectl {words} is not known here")
    objects.save()


def _label(namespace: Document, label: str) -> None:
    name, _, value = label.partition("=")
    if value not in POD_SECURITY.get(name, ()):
        refused(f"{label} is no level of Pod Security")
    namespace["metadata"].setdefault("labels", {})[name] = value


def _secret(name: str, source: str) -> dict[str, Any]:
    found = re.fullmatch(r"--from-file=([-._a-zA-Z0-9]+)=/dev/stdin", source)
    if found is None:
        refused(f"{source}: standard input has what is to be kept")
    content = sys.stdin.buffer.read()
    if not content:
        refused("nothing came through the pipe")
    data = {found[1]: base64.b64encode(content).decode()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "Opaque", "data": data}


def program(words: list[str]) -> list[str]:
    """A container has this one only."""
    if words[:1] != ["modeldist"]:
        refused(f"exec: {words[:1]}: not found")
    return [sys.executable, "-P", "-m", *words]


if __name__ == "__main__":
    where, name, *given = sys.argv[1:]
    {"docker": docker, "helm": helmed, "kubectl": kubectl}[name](given, Path(where))
