"""Preheats as Harbor's driver for Dragonfly 1 asks for them, in older releases.

Shapes and paths: `src/pkg/p2p/preheat/provider/dragonfly.go` of those releases, which posts `preheat_image.go`'s
PreheatImage. A preheat is named by its pull's id.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from modeldist.control.harbor.job import first_reason, rfc3339
from modeldist.control.harbor.request import SCOPES, reference_of, selector_of
from modeldist.control.pulls.pull import Pull
from modeldist.control.pulls.selection import Selector
from modeldist.control.resolver import MAX_REFERENCE
from modeldist.errors import Unsupported


class PreheatRequest(BaseModel):
    """`url` is the manifest's. `headers` carry a token for this one image, which is not kept."""

    model_config = ConfigDict(
        extra="ignore",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "type": "image",
                    "url": "https://harbor.example/v2/library/model/manifests/v1",
                    "headers": {"Authorization": "Bearer …"},
                    "image": "library/model",
                    "tag": "v1",
                    "digest": "sha256:47df0275cd870bf2a21c47b86e67f171fb9b8010015d7c0b3e2c5538f6505c3c",
                }
            ]
        },
    )

    type: str = Field(max_length=64, json_schema_extra={"enum": ["image"]})
    url: str = Field(min_length=1, max_length=MAX_REFERENCE)
    scope: str = Field("", max_length=64, json_schema_extra={"enum": ["", *SCOPES]})

    def reference(self) -> str:
        """Raises InvalidReference, Unsupported."""
        if self.type != "image":
            raise Unsupported(
                f"A preheat of something of type {self.type!r} is none that runs here.",
                remedy='Ask for an "image"; POST /api/v1/pulls puts any reference on nodes.',
            )
        return reference_of(self.url)

    def selector(self) -> Selector:
        """Raises UsageError."""
        return selector_of(self.scope)


@dataclass(frozen=True)
class PreheatCreated:
    ID: str


@dataclass(frozen=True)
class PreheatView:
    """`Status`: WAITING, RUNNING, SUCCESS, FAIL: Harbor's own word, which every release takes for the end. Times are
    RFC 3339; `finishTime` is empty while it runs."""

    ID: str
    startTime: str
    finishTime: str
    errorMsg: str
    Status: Literal["WAITING", "RUNNING", "SUCCESS", "FAIL"]


def preheat_view(pull: Pull, names: dict[str, str]) -> PreheatView:
    """`names` of nodes, by their ids."""
    status: Literal["WAITING", "RUNNING", "SUCCESS", "FAIL"] = "FAIL"
    if pull.running:
        status = "WAITING" if all(node.state == "waiting" for node in pull.nodes.values()) else "RUNNING"
    elif pull.state == "done":
        status = "SUCCESS"
    return PreheatView(
        ID=pull.id,
        startTime=rfc3339(pull.created_at),
        finishTime=rfc3339(pull.finished_at) if pull.finished_at else "",
        errorMsg=first_reason(pull, names) if status == "FAIL" else "",
        Status=status,
    )
