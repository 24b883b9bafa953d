"""Settings of the server: where they come from and what is refused."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
import structlog

from modeldist.control.logs import configure_logging
from modeldist.control.settings import DEFAULT_PORT, ServerSettings
from modeldist.control.trusted_proxies import trusted
from modeldist.errors import UsageError


def test_defaults_are_safe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    settings = ServerSettings.load()
    settings.check_exposure()
    assert settings.url == f"http://127.0.0.1:{DEFAULT_PORT}"
    assert settings.state_dir == tmp_path / "modeldist"
    assert settings.file_roots == ()


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELDIST_SERVER_PORT", "9000")
    monkeypatch.setenv("MODELDIST_SERVER_PLAIN_HTTP_REGISTRIES", "a.example:5000, b.example")
    monkeypatch.setenv("MODELDIST_SERVER_FILE_ROOTS", "/models,/data")
    settings = ServerSettings.load(port=None, host="::1")
    assert settings.url == "http://[::1]:9000"
    assert settings.plain_http_registries == ("a.example:5000", "b.example")
    assert settings.file_roots == (Path("/models"), Path("/data"))
    assert ServerSettings.load(port=1).port == 1


@pytest.mark.parametrize(
    ("given", "named"),
    [({"port": 70_000}, "port"), ({"origin_streams": 0}, "origin_streams"), ({"prot": 1}, "prot")],
)
def test_wrong_settings_are_named(given: dict[str, object], named: str) -> None:
    with pytest.raises(UsageError, match=f"The setting {named} is wrong") as refused:
        ServerSettings.load(**given)
    assert f"MODELDIST_SERVER_{named.upper()}" in refused.value.remedy


def test_proxies_are_trusted_by_address_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ServerSettings.load().trusted_proxies == ()
    monkeypatch.setenv("MODELDIST_SERVER_TRUSTED_PROXIES", "10.0.0.0/8, fd00::5")
    assert ServerSettings.load().trusted_proxies == ("10.0.0.0/8", "fd00::5")
    assert trusted(("10.0.0.0/8", "fd00::5")) == ["10.0.0.0/8", "fd00::5/128", "::ffff:10.0.0.0/104"]
    for wrong in ("*", "proxy.example", "10.0.0.1/8", "10.0.0.1:80"):
        with pytest.raises(UsageError, match=f"The setting trusted_proxies is wrong.*{re.escape(wrong)}"):
            ServerSettings.load(trusted_proxies=(wrong,))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "control.example"])
def test_no_plain_http_beyond_loopback(host: str) -> None:
    with pytest.raises(UsageError, match=f"Listening on {host} without TLS"):
        ServerSettings.load(host=host).check_exposure()
    ServerSettings.load(host=host, allow_plain_http=True).check_exposure()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.5", "::1", "localhost"])
def test_loopback_needs_no_tls(host: str) -> None:
    ServerSettings.load(host=host).check_exposure()


def test_tls_needs_both_files(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.touch()
    with pytest.raises(UsageError, match="certificate and its key"):
        ServerSettings.load(host="0.0.0.0", tls_cert=cert).check_exposure()
    with pytest.raises(UsageError, match=r"no TLS file .*key\.pem"):
        ServerSettings.load(host="0.0.0.0", tls_cert=cert, tls_key=key).check_exposure()
    key.touch()
    settings = ServerSettings.load(host="0.0.0.0", tls_cert=cert, tls_key=key)
    settings.check_exposure()
    assert settings.url.startswith("https://0.0.0.0:")


@pytest.mark.parametrize("form", ["json", "console"])
def test_logs_have_one_form(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    try:
        configure_logging(form, "info")  # type: ignore[arg-type]
        structlog.get_logger("ours").info("an event", node="a")
        logging.getLogger("theirs").warning("another %s", "event")
        secret = "md_" + "5ec2e7" * 3
        try:
            raise ZeroDivisionError(len(secret))
        except ZeroDivisionError:
            logging.getLogger("theirs").exception("broken")
        logging.getLogger("theirs").debug("too quiet")
        said = capsys.readouterr().err
    finally:
        root.handlers, root.level = handlers, level
        structlog.reset_defaults()
    for expected in ("an event", "another event", "ZeroDivisionError"):
        assert expected in said
    assert "too quiet" not in said
    assert "5ec2e7" * 3 not in said
    if form == "json":
        assert len(said.splitlines()) == 3
