"""The origin: Debian's docker-registry and a Hugging Face shaped server in one namespace behind one shaped link.

The registry serves modeldist, curl, aria2c; its access log says what every one of them cost. The hub serves
`hf download` and counts what it writes.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.netlab import model
from tests.netlab.model import Model
from tests.netlab.scenario import LabScenario
from tests.netlab.topology import ORIGIN, Topology
from tests.servers.registry import Registry

_REGISTRY_PORT = 5000
_PROGRAMS = Path(__file__).parent / "programs"
_ON_ONE_CORE = ("env", "GOMAXPROCS=1")
"""The nodes share this machine with the registry, whose runtime else keeps both cores looking for work."""


class Origin:
    """Context manager. `home` holds the blobs."""

    def __init__(self, lab: Topology, home: Path) -> None:
        self._lab = lab
        self._home = home
        self.registry = Registry(
            home / "registry",
            address=lab.address(ORIGIN),
            port=_REGISTRY_PORT,
            inside=[*lab.inside(ORIGIN), *_ON_ONE_CORE],
        )
        self._hub: subprocess.Popen[str] | None = None
        self._models = 0

    def __enter__(self) -> Self:
        self.registry.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.registry.__exit__(kind, error, trace)
        if self._hub is not None:
            self._hub.kill()
            self._hub.communicate()

    def new_model(self, scenario: LabScenario) -> Model:
        """A model of these shards that nobody has seen before, ready to be pulled."""
        self._models += 1
        folder = self._home / f"model-{self._models}"
        digests = model.make(scenario, folder)
        name = f"lab/model-{self._models}"
        host = self.registry.host
        reference = f"{host}/{name}:v1"
        layout = self._home / f"layout-{self._models}"
        model.push(folder, reference, host, self._lab.inside(ORIGIN), layout)
        urls = {file: f"http://{host}/v2/{name}/blobs/sha256:{digest}" for file, digest in digests.items()}
        sizes = {file: (folder / file).stat().st_size for file in digests}
        self.registry.clear_log()
        return Model(folder, digests, sizes, reference, urls, name)

    def forget(self, made: Model) -> None:
        """Its files are not needed any more."""
        shutil.rmtree(made.folder)

    def blob_bytes(self, made: Model) -> int:
        """Bytes of this model's files that the registry has served, by its access log, which is then forgotten."""
        wanted = {f"sha256:{digest}" for digest in made.digests.values()}
        log = self.registry.access_log()
        self.registry.clear_log()
        return sum(access.bytes for access in log if access.method == "GET" and access.blob in wanted)

    # --- the hub ---------------------------------------------------------------------------------------------------

    def serve_on_hub(self, made: Model) -> str:
        """Start a hub that has this model; its URL."""
        self._hub = subprocess.Popen(
            [*self._lab.inside(ORIGIN), sys.executable, str(_PROGRAMS / "hub.py"), self._lab.address(ORIGIN)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        answer = self._ask_hub({"repo": made.hub, "folder": str(made.folder)})
        return str(answer["url"])

    def hub_bytes(self) -> int:
        """Body bytes the hub has written for model files; the hub is gone afterwards."""
        served = int(self._ask_hub({})["bytes"])
        assert self._hub is not None
        self._hub.communicate()
        self._hub = None
        return served

    def _ask_hub(self, question: dict[str, str]) -> dict[str, object]:
        assert self._hub is not None and self._hub.stdin is not None and self._hub.stdout is not None
        self._hub.stdin.write(json.dumps(question) + "\n")
        self._hub.stdin.flush()
        answer: dict[str, object] = json.loads(self._hub.stdout.readline())
        return answer
