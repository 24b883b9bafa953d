"""A container of a rendered pod on this machine: its volumes are folders, its variables have values, and with them its
command line is what the kubelet would run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.deploy import told

NODE = "node-7"
HOST_IP = "192.0.2.9"


@dataclass(frozen=True)
class Container:
    spec: dict[str, Any]
    words: tuple[str, ...]
    environment: Mapping[str, str]

    def port(self, name: str) -> int:
        (number,) = [port["containerPort"] for port in self.spec["ports"] if port["name"] == name]
        return int(number)

    def host_port(self, name: str) -> int:
        """0 where the host's is none of it."""
        (port,) = [port for port in self.spec["ports"] if port["name"] == name]
        return int(port.get("hostPort", 0))


def container(pod: dict[str, Any], folder: Path, pod_ip: str = "10.1.2.3") -> Container:
    """The only container of a pod's spec; what its volumes hold is made in `folder`."""
    (spec,) = pod["containers"]
    places = {mount["mountPath"]: folder / mount["mountPath"].lstrip("/") for mount in spec["volumeMounts"]}
    _fill(pod, spec, places)
    environment: dict[str, str] = {}
    for each in spec["env"]:
        value = each["value"] if "value" in each else _from(each["valueFrom"], pod_ip)
        environment[each["name"]] = _moved(told.substituted(value, environment, "kubernetes"), places)
    words = [told.substituted(word, environment, "kubernetes") for word in (*spec["command"], *spec["args"])]
    return Container(spec, tuple(_moved(word, places) for word in words), environment)


def _fill(pod: dict[str, Any], spec: dict[str, Any], places: Mapping[str, Path]) -> None:
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for mount in spec["volumeMounts"]:
        place, volume = places[mount["mountPath"]], volumes[mount["name"]]
        place.mkdir(parents=True, exist_ok=True)
        if volume["name"] == "join":  # what whoever sets up the node puts there
            told.token_file(place)
        for item in (volume.get("secret") or volume.get("configMap") or {}).get("items", []):
            told.token_file(place / "made").rename(place / item["path"])


def _from(source: dict[str, Any], pod_ip: str) -> str:
    if "secretKeyRef" in source:
        assert source["secretKeyRef"]["name"]
        return "postgresql://modeldist:secret@database.example/modeldist"
    return {
        "spec.nodeName": NODE,
        "status.podIP": pod_ip,
        "status.hostIP": HOST_IP,
        "metadata.labels['topology.kubernetes.io/zone']": "",
    }[source["fieldRef"]["fieldPath"]]


def _moved(word: str, places: Mapping[str, Path]) -> str:
    """Each path below a mount is where that is on this machine."""
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    for mount in sorted(places, key=len, reverse=True):
        if value == mount or value.startswith(mount + "/"):
            return option + equals + str(places[mount]) + value.removeprefix(mount)
    return word
