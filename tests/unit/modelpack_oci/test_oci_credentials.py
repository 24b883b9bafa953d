"""Credentials in the files and helpers that Docker and Podman use."""

from __future__ import annotations

import base64
import json
import stat
import sys
from pathlib import Path

import pytest

from modelpack.errors import RegistryUnauthorized
from modelpack.oci import Credential, DockerCredentials

HELPER = """#!{python}
import json, os, sys, time
store = {store!r}
verb, given = sys.argv[1], sys.stdin.read()
entries = json.load(open(store)) if os.path.exists(store) else {{}}
if given.startswith("broken.example"):
    print("oh s3cret dear"); sys.exit(3)
if given.startswith("odd.example"):
    print("[]"); sys.exit(0)
if given.startswith("slow.example"):
    time.sleep(60)
if verb == "get":
    if given not in entries:
        print("credentials not found in native keychain"); sys.exit(1)
    print(json.dumps(entries[given]))
elif verb == "store":
    entry = json.loads(given)
    if entry["ServerURL"] == "full.example":
        sys.exit(1)
    entries[entry["ServerURL"]] = entry
elif verb == "erase":
    del entries[given]
json.dump(entries, open(store, "w"))
"""


def basic(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def config(tmp_path: Path, document: object, name: str = "config.json") -> Path:
    path = tmp_path / name
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


@pytest.fixture
def helper(tmp_path: Path) -> Path:
    """The directory of a program docker-credential-test, which keeps its entries in entries.json beside it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "docker-credential-test"
    program.write_text(HELPER.format(python=sys.executable, store=str(folder / "entries.json")))
    program.chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("auths", "registry", "repository", "expected"),
    [
        ({"r.example": {"auth": basic("ada:p:w")}}, "r.example", "", Credential("ada", "p:w")),
        ({"https://r.example/v2/": {"auth": basic("ada:pw\0")}}, "r.example", "", Credential("ada", "pw")),
        ({"r.example": {"username": "ada", "password": "pw"}}, "r.example", "", Credential("ada", "pw")),
        ({"r.example": {"auth": "", "identitytoken": "t"}}, "r.example", "", Credential(identity_token="t")),
        ({"https://index.docker.io/v1/": {"auth": basic("a:b")}}, "docker.io", "", Credential("a", "b")),
        ({"docker.io": {"auth": basic("a:b")}}, "registry-1.docker.io", "", Credential("a", "b")),
        (
            {"r.example": {"auth": basic("a:b")}, "r.example/x": {"auth": basic("c:d")}},
            "r.example",
            "x/y",
            Credential("c", "d"),
        ),
        ({"r.example/x": {"auth": basic("c:d")}}, "r.example", "xx/y", None),
        ({"r.example": {}, "other": None}, "r.example", "", None),
        ({}, "r.example", "", None),
    ],
)
async def test_lookup(
    auths: object, registry: str, repository: str, expected: Credential | None, tmp_path: Path
) -> None:
    credentials = DockerCredentials((config(tmp_path, {"auths": auths}),))
    assert await credentials.lookup(registry, repository) == expected


@pytest.mark.parametrize("auth", ["%%%", basic("no colon"), base64.b64encode(b"\xff:\xff").decode()])
async def test_a_damaged_entry_is_named_without_its_secret(auth: str, tmp_path: Path) -> None:
    path = config(tmp_path, {"auths": {"r.example": {"auth": auth}}})
    with pytest.raises(RegistryUnauthorized, match=f"The entry for r.example in {path} is damaged") as caught:
        await DockerCredentials((path,)).lookup("r.example")
    assert auth not in str(caught.value)


@pytest.mark.parametrize(
    "entry",
    [{"auth": "é"}, {"auth": 7}, {"username": "\ud800", "password": "x"}, {"username": ["x"]}, {"identitytoken": {}}],
)
async def test_entries_that_no_header_can_carry(entry: object, tmp_path: Path) -> None:
    path = config(tmp_path, {"auths": {"r.example": entry}})
    with pytest.raises(RegistryUnauthorized, match=f"The entry for r.example in {path} is damaged"):
        await DockerCredentials((path,)).lookup("r.example")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "{",
            "[]",
            '{"auths": []}',
            '{"credHelpers": 3}',
            '{"credHelpers": {"r.example": [1]}}',
            '{"credsStore": {}}',
        ),
        *("[" * 100_000, '{"auths": ' + "9" * 5000 + "}"),
    ],
)
async def test_a_damaged_file(text: str, tmp_path: Path) -> None:
    path = config(tmp_path, text)
    with pytest.raises(RegistryUnauthorized, match=f"The credentials file {path} is of no use"):
        await DockerCredentials((path,)).lookup("r.example")


async def test_a_directory_in_place_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(RegistryUnauthorized, match="Is a directory"):
        await DockerCredentials((tmp_path,)).lookup("r.example")


async def test_the_files_of_the_environment(tmp_path: Path) -> None:
    found = DockerCredentials.from_environment({"HOME": "/home/ada"})
    assert found.files == (Path("/home/ada/.docker/config.json"),)
    named = {"DOCKER_CONFIG": "/d", "REGISTRY_AUTH_FILE": "/r.json", "XDG_RUNTIME_DIR": "/run/1", "HOME": "/h"}
    files = DockerCredentials.from_environment(named).files
    assert files == (Path("/r.json"), Path("/d/config.json"), Path("/run/1/containers/auth.json"))
    first = config(tmp_path, {"auths": {"other.example": {"auth": basic("a:b")}}}, "1.json")
    second = config(tmp_path, {"auths": {"r.example": {"auth": basic("c:d")}}}, "2.json")
    assert await DockerCredentials((first, tmp_path / "none", second)).lookup("r.example") == Credential("c", "d")


async def test_login_and_logout(tmp_path: Path) -> None:
    path = config(tmp_path, {"auths": {"https://r.example/v1/": {"auth": "old"}, "x": {}}, "psFormat": "table"})
    link = tmp_path / "link.json"
    link.symlink_to(path)
    credentials = DockerCredentials((link,))
    await credentials.login("r.example", Credential("ada", "pw"))
    await credentials.login("docker.io", Credential(identity_token="t"))
    assert json.loads(path.read_text()) == {
        "auths": {
            "x": {},
            "r.example": {"auth": basic("ada:pw")},
            "https://index.docker.io/v1/": {"identitytoken": "t"},
        },
        "psFormat": "table",
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert link.is_symlink()
    assert await credentials.lookup("r.example") == Credential("ada", "pw")
    assert await credentials.logout("r.example") is True
    assert await credentials.logout("r.example") is False
    assert await credentials.lookup("r.example") is None
    assert sorted(tmp_path.iterdir()) == [path, link]


async def test_login_makes_the_file(tmp_path: Path) -> None:
    credentials = DockerCredentials((tmp_path / "new" / "config.json",))
    await credentials.login("r.example", Credential("ada", "pw"))
    assert await credentials.lookup("r.example") == Credential("ada", "pw")


async def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "config.json"
    with pytest.raises(RegistryUnauthorized, match=f"{path} cannot be written"):
        await DockerCredentials((path,)).login("r.example", Credential("ada", "pw"))


@pytest.mark.parametrize("kind", ["credsStore", "credHelpers"])
@pytest.mark.parametrize("credential", [Credential("ada", "pw"), Credential(identity_token="t")])
async def test_a_helper_keeps_the_secret(kind: str, credential: Credential, helper: Path, tmp_path: Path) -> None:
    value = "test" if kind == "credsStore" else {"r.example": "test"}
    path = config(tmp_path, {kind: value, "auths": {"r.example": {}}})
    credentials = DockerCredentials((path,), str(helper))
    assert await credentials.lookup("r.example") is None
    assert await credentials.logout("r.example") is True  # of the empty entry
    await credentials.login("r.example", credential)
    assert "r.example" in (helper / "entries.json").read_text()
    assert credential.password not in path.read_text() or not credential.password
    assert await credentials.lookup("r.example") == credential
    assert await credentials.logout("r.example") is True
    assert await credentials.lookup("r.example") is None


@pytest.mark.parametrize(
    ("registry", "problem"),
    [
        ("broken.example", "failed with exit status 3"),
        ("odd.example", "answered something that is not credentials"),
        ("slow.example", "did not answer within"),
    ],
)
async def test_a_helper_that_fails(registry: str, problem: str, helper: Path, tmp_path: Path) -> None:
    path = config(tmp_path, {"credsStore": "test"})
    timeout = 0.2 if registry == "slow.example" else 30.0
    with pytest.raises(RegistryUnauthorized, match=f"docker-credential-test, named in {path}, {problem}") as caught:
        await DockerCredentials((path,), str(helper), timeout).lookup(registry)
    assert "s3cret" not in str(caught.value)


async def test_a_helper_that_cannot_store(helper: Path, tmp_path: Path) -> None:
    path = config(tmp_path, {"credsStore": "test"})
    with pytest.raises(RegistryUnauthorized, match="failed with exit status 1") as caught:
        await DockerCredentials((path,), str(helper)).login("full.example", Credential("ada", "s3cret"))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("name", ["missing", "../evil"])
async def test_a_helper_that_is_missing(name: str, helper: Path, tmp_path: Path) -> None:
    path = config(tmp_path, {"credHelpers": {"r.example": name}})
    with pytest.raises(RegistryUnauthorized, match="is not installed"):
        await DockerCredentials((path,), str(helper)).lookup("r.example")


async def test_a_helper_that_cannot_run(helper: Path, tmp_path: Path) -> None:
    (helper / "docker-credential-test").write_text("#!/no/such/interpreter\n")
    path = config(tmp_path, {"credsStore": "test"})
    with pytest.raises(RegistryUnauthorized, match="cannot be run"):
        await DockerCredentials((path,), str(helper)).lookup("r.example")


def test_secrets_are_not_shown() -> None:
    assert repr(Credential("ada", "pw", "t")) == "Credential()"
