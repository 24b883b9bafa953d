"""Values as people write them: names of digits, texts with colons, releases with dots, typos."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.deploy.helm import CHART, NAMESPACE, Document, helm, of_kind, workload
from tests.deploy.test_chart import CUSTOM, MINIMAL, TLS

SERVICE = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1035, as Kubernetes has it of Services
TEXTS = ("123", "1e5", "null")
"""YAML takes each for something else than a text."""


def documents(release: str, *arguments: str) -> tuple[Document, ...]:
    done = helm("template", release, str(CHART), "--namespace", NAMESPACE, *arguments)
    assert done.returncode == 0, done.stderr
    return tuple(document for document in yaml.safe_load_all(done.stdout) if document)


def checked(found: tuple[Document, ...]) -> tuple[Document, ...]:
    for document in found:
        if document["apiVersion"] not in CUSTOM:
            kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
        labels = document["metadata"]["labels"]
        assert all(isinstance(value, str) and len(value) <= 63 for value in labels.values()), labels
    return found


@pytest.mark.parametrize("text", TEXTS)
def test_what_looks_like_a_number_stays_a_text(text: str, tmp_path: Path) -> None:
    secret = {"secretName": text, "key": text}
    values: dict[str, Any] = {
        "trustedCA": secret,
        "credentials": {"dockerConfigSecret": text, "huggingFace": secret, "modelScope": secret},
        "policy": {"configMapName": text},
        "controlPlane": {
            "tls": {"secretName": text},
            "database": {"kind": "postgresql", **secret},
            "priorityClassName": text,
            "nodeSelector": {"pool": text},
            "podLabels": {"team": text},
            "podAnnotations": {"note": text},
        },
        "agent": {
            "token": secret,
            "metrics": {"enabled": True, "token": secret},
            "priorityClassName": text,
            "labels": {"team": text},
            "rack": text,
        },
        "metrics": {
            "serviceMonitor": {"enabled": True, "token": secret, "labels": {"release": text}},
            "podMonitor": {"enabled": True},
        },
    }
    (tmp_path / "values.yaml").write_text(json.dumps(values))
    found = checked(documents("modeldist", "--values", str(tmp_path / "values.yaml")))
    pod = workload(found, "agent")["spec"]["template"]["spec"]
    assert {f"--rack={text}", f"--label=team={text}"} <= set(pod["containers"][0]["args"])
    for monitor in (*of_kind(found, "ServiceMonitor"), *of_kind(found, "PodMonitor")):
        (endpoint,) = monitor["spec"].get("endpoints") or monitor["spec"]["podMetricsEndpoints"]
        assert endpoint["authorization"] == {"credentials": {"name": text, "key": text}}


def test_a_volume_and_its_class() -> None:
    text = "123"
    named = ("--set-string", f"controlPlane.persistence.storageClassName={text}")
    (claim,) = of_kind(checked(documents("modeldist", *TLS, *named)), "PersistentVolumeClaim")
    assert claim["spec"]["storageClassName"] == text
    used = ("--set-string", f"controlPlane.persistence.existingClaim={text}")
    (state, *_) = workload(checked(documents("modeldist", *TLS, *used)), "control")["spec"]["template"]["spec"][
        "volumes"
    ]
    assert state["persistentVolumeClaim"] == {"claimName": text}


def test_texts_reach_the_program_as_they_are(tmp_path: Path) -> None:
    texts = ["row 3 # left", "a: b", "{x}", '"quoted"', "- x", "'", "\\", "ü"]
    values = {
        "agent": {"rack": texts[0], "zone": texts[1], "labels": {f"l{at}": text for at, text in enumerate(texts)}}
    }
    (tmp_path / "values.yaml").write_text(json.dumps(values))
    found = documents("modeldist", *TLS, "--values", str(tmp_path / "values.yaml"))
    args = workload(checked(found), "agent")["spec"]["template"]["spec"]["containers"][0]["args"]
    assert {f"--rack={texts[0]}", f"--zone={texts[1]}"} <= set(args)
    assert {f"--label=l{at}={text}" for at, text in enumerate(texts)} <= set(args)


@pytest.mark.parametrize(
    ("release", "override"),
    [
        ("models.team-a", ""),
        ("x" * 53, ""),
        ("a" * 38 + ".b", ""),
        ("a" * 38 + "--b", ""),
        ("r", "n" * 63),
        ("r", "a.b"),
        ("123", "models"),
        ("1e5", "models"),
    ],
)
def test_names_are_names_of_services(release: str, override: str) -> None:
    found = checked(documents(release, *TLS, "--set", f"fullnameOverride={override}"))
    for document in found:
        assert SERVICE.fullmatch(document["metadata"]["name"]), document["metadata"]["name"]
        assert document["metadata"]["labels"]["app.kubernetes.io/instance"] == release


def test_an_image_by_digest_and_a_registry_with_a_port() -> None:
    digest = "sha256:" + "0" * 64
    given = f"agent.image.repository=localhost:5000/agent,agent.image.digest={digest},agent.image.tag=ignored"
    pod = workload(documents("modeldist", *TLS, "--set", given), "agent")["spec"]["template"]["spec"]
    assert {each["image"] for each in (*pod["initContainers"], *pod["containers"])} == {
        f"localhost:5000/agent@{digest}"
    }


@pytest.mark.parametrize(
    ("url", "ports"),
    [
        ("https://control.example:8443", [8443]),
        ("https://control.example", [443]),
        ("http://control.example", [80]),
        ("https://[fd00::7]", [443]),
        ("https://a.example:7421\\,https://b.example", [7421, 443]),
    ],
)
def test_policies_let_agents_reach_a_control_plane_elsewhere(url: str, ports: list[int]) -> None:
    given = f"agent.controlUrl={url},controlPlane.enabled={str(len(ports) > 1).lower()},networkPolicy.enabled=true"
    found = checked(documents("modeldist", *TLS, "--set", given))
    (policy,) = of_kind(found, "NetworkPolicy", "-agent")
    rule = policy["spec"]["egress"][1]
    assert rule == {"ports": [{"port": port, "protocol": "TCP"} for port in ports]}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("fullnameOverride=My_Models", "fullnameOverride"),
        ("fullnameOverride=-models", "fullnameOverride"),
        (f"nameOverride={'n' * 64}", "nameOverride"),
        ("fullnameOverride=1st", "begins with a letter"),
        ("agent.store.hostPath=/var/../etc", "hostPath"),
        ("agent.store.hostPath=//", "hostPath"),
        ("agent.join.hostPath=/./", "hostPath"),
        ("agent.store.hostPath=/run/modeldist/", "one directory"),
        ("agent.metrics.enabled=true,agent.metrics.token.secretName=a,agent.metrics.port=7421", "give them two"),
        ("agent.updateStrategy.maxUnavailable=0", "maxUnavailable"),
        ("agent.updateStrategy.maxUnavailable=0%", "maxUnavailable"),
        ("agent.tolerations[0].efect=NoSchedule", "efect"),
        ("agent.tolerations[0].effect=NoSchedul", "effect"),
        ("controlPlane.resources.limit.cpu=1", "limit"),
        ("agent.affinity.podAffinty.x=1", "podAffinty"),
        ("controlPlane.tls.certManager.issuerRef.kind=ClusterIssuer", "issuerRef"),
        ("controlPlane.image.digest=sha256:abc", "digest"),
        ("controlPlane.replicas=2.5", "replicas"),
        ("agent.controlUrl=control:7420", "controlUrl"),
    ],
)
def test_typos_are_refused(given: str, sentence: str) -> None:
    done = helm("template", "modeldist", str(CHART), *TLS, "--set", given)
    assert done.returncode != 0
    assert sentence in done.stderr


def test_a_release_that_begins_with_a_digit_is_told_what_to_do() -> None:
    done = helm("template", "1st", str(CHART), "--values", str(MINIMAL))
    assert done.returncode != 0
    assert "set fullnameOverride to a name that begins with a letter" in done.stderr
