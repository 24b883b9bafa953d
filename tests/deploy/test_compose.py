"""The compose files name images that are built here, and what their containers run is what the program takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from modeldist.agent.serving import gateway_socket, split_address
from modeldist.agent.settings import AgentSettings
from modeldist.control.settings import ServerSettings
from modeldist.control.store.database import engine_for
from tests.deploy import told
from tests.deploy.images import IMAGES, ROOT, Stage

FOLDER = ROOT / "deploy" / "compose"
GIVEN = {
    "POSTGRES_PASSWORD": "secret",
    "GRAFANA_PASSWORD": "secret",
    "MODELDIST_CONTROL": "https://control.example:7420",
    "MODELDIST_LISTEN": "10.0.0.7:7421",
}
OURS = ("control", "token", "agent")
OTHERS = ("prometheus", "grafana")


def composed(*names: str) -> dict[str, Any]:
    """The services of files that are laid over each other: lists are added, mappings merged."""
    whole = laid_over(*names)
    assert set(whole) <= {"name", "services", "volumes", "secrets", "configs", "x-hardened"}
    services: dict[str, Any] = whole["services"]
    for service in services.values():
        for volume in service.get("volumes", ()):
            assert volume.split(":")[0] in whole["volumes"], volume
    return services


def laid_over(*names: str) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    for name in names:
        text = told.substituted((FOLDER / name).read_text(), GIVEN, "braces")
        whole = _merged(whole, yaml.safe_load(text))
    return whole


def _merged(below: Any, above: Any) -> Any:
    if isinstance(below, dict) and isinstance(above, dict):
        return {key: _merged(below.get(key), above.get(key)) for key in {**below, **above}}
    return below if above is None else above


def environment(service: dict[str, Any], image: Stage, folder: Path) -> dict[str, str]:
    found = {**image.environment, **service.get("environment", {})}
    told.check_names(found)
    for name in ("MODELDIST_AGENT_TOKEN_FILE", "MODELDIST_AGENT_METRICS_TOKEN_FILE"):
        if name in found:
            assert found[name].startswith(("/run/modeldist/", "/run/secrets/"))
            found[name] = str(told.token_file(folder))
    return found


WITH_POSTGRESQL = ("compose.yaml", "postgresql.yaml")
WITH_METRICS = ("compose.yaml", "metrics.yaml")
both = pytest.mark.parametrize(
    "names", [("compose.yaml",), WITH_POSTGRESQL, WITH_METRICS], ids=["sqlite", "postgresql", "metrics"]
)


@both
def test_the_control_plane(names: tuple[str, ...], tmp_path: Path) -> None:
    service, image = composed(*names)["control"], IMAGES["control"]
    settings = told.settings_of((*image.entrypoint, *image.command), environment(service, image, tmp_path))
    assert isinstance(settings, ServerSettings)
    settings.check_exposure()
    assert service["ports"] == [f"127.0.0.1:{settings.port}:{settings.port}"]
    assert str(settings.state_dir) in [volume.split(":")[1] for volume in service["volumes"]]
    if names == WITH_POSTGRESQL:
        url = engine_for(settings.database_url).url
        assert url.host == "postgresql"
        assert url.password == "secret"


@both
def test_the_agent_and_its_token(names: tuple[str, ...], tmp_path: Path) -> None:
    services = composed(*names)
    service, image = services["agent"], IMAGES["agent"]
    found = environment(service, image, tmp_path)
    settings = told.settings_of((*image.entrypoint, *image.command), found)
    assert isinstance(settings, AgentSettings)
    plane = told.settings_of(("modeldist", "server"), environment(services["control"], IMAGES["control"], tmp_path))
    assert isinstance(plane, ServerSettings)
    assert settings.control == f"http://127.0.0.1:{plane.port}"
    assert service["network_mode"] == "host"
    assert split_address(settings.gateway) == ("127.0.0.1", 7430)
    mounted = [volume.split(":")[1] for volume in service["volumes"]]
    assert str(settings.store) in mounted
    assert str(settings.socket.parent) in mounted

    token = services["token"]
    (script,) = token["command"]
    (line,) = [line for line in script.splitlines() if line.startswith("modeldist")]
    words, _, target = line.partition(" > ")
    told.check_command(words.split())
    assert target.removesuffix(".new") == service["environment"]["MODELDIST_AGENT_TOKEN_FILE"]
    assert token["environment"]["MODELDIST_SERVER_STATE_DIR"] == str(plane.state_dir)
    assert token["environment"].get("MODELDIST_SERVER_DATABASE_URL", "") == plane.database_url


def test_prometheus_and_grafana_find_what_they_read(tmp_path: Path) -> None:
    whole = laid_over(*WITH_METRICS)
    services, configs = whole["services"], whole["configs"]
    mounted = {each["target"]: configs[each["source"]] for name in OTHERS for each in services[name]["configs"]}
    for config in mounted.values():
        assert "content" in config or (FOLDER / config["file"]).is_file()
    scrapes = yaml.safe_load(mounted["/etc/prometheus/prometheus.yml"]["content"])
    assert set(scrapes["rule_files"]) <= set(mounted)
    server, agent = scrapes["scrape_configs"]
    told_agent = services["agent"]["environment"]
    assert agent["static_configs"] == [{"targets": [told_agent["MODELDIST_AGENT_METRICS"]]}]
    assert agent["authorization"]["credentials_file"] == told_agent["MODELDIST_AGENT_METRICS_TOKEN_FILE"]
    assert server["static_configs"] == [{"targets": [services["control"]["ports"][0].rpartition(":")[0]]}]
    (script,) = services["token"]["command"]
    made = {target: words for words, _, target in (line.strip().partition(" > ") for line in script.splitlines())}
    reads = told.check_command(made[server["authorization"]["credentials_file"]].split())
    assert reads.params["scope"] == "read"
    assert any(target == told_agent["MODELDIST_AGENT_METRICS_TOKEN_FILE"] for target in made)
    provider = yaml.safe_load(mounted["/etc/grafana/provisioning/dashboards/modeldist.yaml"]["content"])
    assert f"{provider['providers'][0]['options']['path']}/modeldist.json" in mounted
    datasource = yaml.safe_load(mounted["/etc/grafana/provisioning/datasources/modeldist.yaml"]["content"])
    (listens,) = [word for word in services["prometheus"]["command"] if "listen-address" in word]
    assert datasource["datasources"][0]["url"] == f"http://{listens.partition('=')[2]}"


def test_an_agent_of_another_machine(tmp_path: Path) -> None:
    service, image = composed("agent.yaml")["agent"], IMAGES["agent"]
    settings = told.settings_of((*image.entrypoint, *image.command), environment(service, image, tmp_path))
    assert isinstance(settings, AgentSettings)
    assert settings.control == GIVEN["MODELDIST_CONTROL"]
    assert settings.listen == GIVEN["MODELDIST_LISTEN"]
    with gateway_socket("127.0.0.1:0"):
        assert settings.gateway.startswith("127.0.0.1:")


@pytest.mark.parametrize("names", [WITH_POSTGRESQL, WITH_METRICS, ("agent.yaml",)], ids=["cluster", "metrics", "agent"])
def test_containers_may_do_no_more_than_they_need(names: tuple[str, ...]) -> None:
    for name, service in composed(*names).items():
        assert service["security_opt"] == ["no-new-privileges:true"]
        if name in OURS:
            assert service["read_only"] is True
            assert service["cap_drop"] == ["ALL"]
            assert "privileged" not in service
            target = "control" if name == "token" else name
            assert service["image"] == f"modeldist-{target}:{IMAGES[target].version}"
            if build := service.get("build"):
                assert build["target"] == target
                assert (FOLDER / build["context"] / build["dockerfile"]).is_file()
        for needed in service.get("depends_on", {}):
            assert needed in composed(*names)
