"""Bodies that clients send, checked."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

from modeldist.control.api.examples import NODE
from modeldist.control.greeting import MAX_LABELS, MAX_NAME
from modeldist.control.pulls.selection import Selector
from modeldist.control.resolver import MAX_REFERENCE
from modeldist.control.rollouts.rollout import Plan
from modeldist.control.webhooks.signing import Webhook, key_of
from modeldist.control.whole_numbers import Whole
from modeldist.errors import UsageError
from modeldist.origins.selected import join, split
from modeldist.scheduler.messages import Priority
from modeldist.transfer.tls.authority import MAX_CSR
from modelpack.errors import InvalidSelection
from modelpack.globs import MAX_PATTERN
from modelpack.mediatypes import LayerKind
from modelpack.plan.selection import MAX_VALUES, Family, Selection

PRIORITIES: dict[str, Priority] = {priority.name.lower(): priority for priority in Priority}


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be printable")
    return text


Name = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME), AfterValidator(_printable)]
LabelValue = Annotated[str, StringConstraints(max_length=MAX_NAME), AfterValidator(_printable)]
Reference = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_REFERENCE),
    Field(
        description="org/model:tag, registry/org/model@sha256:…, hf://org/model@revision, "
        "modelscope://org/model@revision, https://…"
    ),
]


Patterns = Annotated[
    tuple[Annotated[str, StringConstraints(min_length=1, max_length=MAX_PATTERN)], ...], Field(max_length=MAX_VALUES)
]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ResolveRequest(_Body):
    model_config = ConfigDict(json_schema_extra={"examples": [{"reference": "registry.example/org/model:v1"}]})

    reference: Reference


CSR = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_CSR),
    Field(description="PKCS#10, PEM, of a P-256 key. Names in it count for nothing."),
]
_CSR_EXAMPLE = "-----BEGIN CERTIFICATE REQUEST-----\n…\n-----END CERTIFICATE REQUEST-----\n"


class CertificateRequest(_Body):
    model_config = ConfigDict(json_schema_extra={"examples": [{"csr": _CSR_EXAMPLE}]})

    csr: CSR


class EnrolRequest(_Body):
    model_config = ConfigDict(json_schema_extra={"examples": [{"node": NODE, "csr": _CSR_EXAMPLE}]})

    node: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,128}$")]
    csr: CSR


Count = Annotated[Whole, Field(ge=1, le=100_000)]
Percentage = Annotated[Whole, Field(ge=1, le=100)]


Labels = Annotated[dict[Name, LabelValue], Field(min_length=1, max_length=MAX_LABELS)]


class ByLabels(_Body):
    """Connected nodes that carry all of these labels: every one, or `count` or `percentage` of them."""

    labels: Labels
    count: Count | None = None
    percentage: Percentage | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.count is not None and self.percentage is not None:
            raise PydanticCustomError("nodes", "Write either count or percentage")
        return self


class ByCount(_Body):
    """Any so many connected nodes, those with the fewest running pulls first."""

    count: Count


class ByPercentage(_Body):
    """So many of each hundred connected nodes, rounded up, those with the fewest running pulls first."""

    percentage: Percentage


def _way(nodes: object) -> str | None:
    """Which way of naming nodes is meant, so that what is wrong is said of that way alone."""
    for way, kind in (("labels", ByLabels), ("count", ByCount), ("percentage", ByPercentage)):
        if isinstance(nodes, kind) or (isinstance(nodes, dict) and way in nodes):
            return way
    if isinstance(nodes, list):
        return "names"
    return "all" if nodes == "all" else None


Nodes = Annotated[
    Annotated[list[Name], Field(min_length=1, max_length=10_000), Tag("names")]
    | Annotated[Literal["all"], Tag("all")]
    | Annotated[ByLabels, Tag("labels")]
    | Annotated[ByCount, Tag("count")]
    | Annotated[ByPercentage, Tag("percentage")],
    Discriminator(
        _way,
        custom_error_type="nodes",
        custom_error_message='Write "all", a list of names or ids, {"labels": {…}}, {"count": N} or {"percentage": P}',
    ),
]


class PartRequest(_Body):
    """Which part of the model (see `modelpack.plan.selection`): patterns of paths and of tensors' names, kinds of
    layers, the rank that will load it, which of two sets of the same weights."""

    only: Patterns = ()
    exclude: Patterns = ()
    kinds: tuple[LayerKind, ...] = ()
    tensors: Patterns = ()
    rank: Annotated[str, StringConstraints(max_length=80)] = ""
    weights: Family | None = None

    def text(self) -> str:
        """Raises UsageError."""
        try:
            return str(Selection.of(**self.model_dump()))
        except InvalidSelection as error:
            raise UsageError(error.message, remedy=error.remedy) from error


def _rfc3339(written: object) -> object:
    if not isinstance(written, str) or not _DATE.match(written):  # what else would be read as a number of seconds
        raise PydanticCustomError("deadline", "Write a time as 2026-12-01T06:00:00Z")
    return written


_DATE = re.compile(r"\d{4}-\d\d-\d\d[Tt ]")
Deadline = Annotated[
    AwareDatetime,
    BeforeValidator(_rfc3339),
    Field(description="RFC 3339, with its time zone: nodes that are not done by then have failed (deadline_exceeded)."),
]


_URL = r"^https?://[^\s/?#@]+([/?][^\s#]*)?$"


def _with_host(url: str) -> str:
    try:
        parts = urlsplit(url)
        fine = bool(parts.hostname) and parts.port != 0 and url.isprintable()
    except ValueError:
        fine = False
    if not fine:
        raise PydanticCustomError("url", "Write a URL as https://platform.example/hook")
    return url


class WebhookRequest(_Body):
    """Where to POST when the pull ends, signed with `secret` as Standard Webhooks has it."""

    url: Annotated[str, StringConstraints(max_length=2048, pattern=_URL), AfterValidator(_with_host)]
    secret: Annotated[str, StringConstraints(max_length=128)]

    def checked(self) -> Webhook:
        """Raises UsageError."""
        key_of(self.secret)
        return Webhook(self.url, self.secret)


class OfAllLabels(_Body):
    """Every connected node that carries all of these labels."""

    labels: Labels


def _exact(nodes: object) -> str | None:
    if isinstance(nodes, OfAllLabels) or (isinstance(nodes, dict) and "labels" in nodes):
        return "labels"
    return way if (way := _way(nodes)) in ("names", "all") else None


class _OfAModel(_Body):
    """Names a model, or a part of it."""

    reference: Reference
    selection: PartRequest | None = None

    def selected(self) -> str:
        """The reference with what is selected of it. Raises InvalidReference, UsageError."""
        part = self.selection
        return join(self.reference, part.text()) if part is not None else join(*split(self.reference))


ExactNodes = Annotated[
    Annotated[list[Name], Field(min_length=1, max_length=10_000), Tag("names")]
    | Annotated[Literal["all"], Tag("all")]
    | Annotated[OfAllLabels, Tag("labels")],
    Discriminator(
        _exact,
        custom_error_type="nodes",
        custom_error_message='Write "all", a list of names or ids, or {"labels": {…}}',
    ),
]


def _exactly(nodes: list[str] | Literal["all"] | OfAllLabels) -> Selector:
    match nodes:
        case "all":
            return Selector(everyone=True)
        case OfAllLabels(labels=labels):
            return Selector(labels=labels)
        case _:
            return Selector(nodes=tuple(sorted(set(nodes))))


class KeepingRequest(_OfAModel):
    """A model, as it was pulled, and the nodes: ids or names; "all" that are connected; labels."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"reference": "registry.example/org/model:v1", "nodes": "all"},
                {"reference": "org/model:v1", "nodes": {"labels": {"gpu": "h100"}}},
                {"reference": "org/model:v1", "nodes": ["node-1", "node-2"]},
            ]
        }
    )

    nodes: ExactNodes

    def selector(self) -> Selector:
        return _exactly(self.nodes)


Seconds = Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)]


class RolloutRequest(_Body):
    """A release as `modeldist release sign` makes it, and the nodes. `canary`: so many first; `waves`: then so many of
    each hundred of all, in rising order, of which the last need not be 100; `most_away`: nodes that may be between two
    versions at a time; `health`: seconds for which each has to be well; `within`: seconds in which the new version has
    to come up; `drain`: seconds for what a node reads from the origin; `tolerate`: nodes that may fail before all go
    back; `control_plane`: first of all the control plane itself."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"release": "registry.example/ops/modeldist:0.2.0", "nodes": "all"},
                {
                    "release": "registry.example/ops/modeldist:0.2.0",
                    "nodes": {"labels": {"gpu": "h100"}},
                    "canary": 2,
                    "waves": [25, 100],
                    "most_away": 4,
                },
            ]
        }
    )

    release: Reference
    nodes: ExactNodes
    canary: Count = 1
    waves: Annotated[tuple[Percentage, ...], Field(min_length=1, max_length=20)] = (10, 50, 100)
    most_away: Count = 1
    health: Seconds = 60.0
    within: Annotated[float, Field(ge=1, le=600, allow_inf_nan=False)] = 60.0
    drain: Annotated[float, Field(ge=0, le=600, allow_inf_nan=False)] = 30.0
    tolerate: Annotated[Whole, Field(ge=0, le=100_000)] = 0
    control_plane: bool = False

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if list(self.waves) != sorted(set(self.waves)):
            raise PydanticCustomError("waves", "Write waves in rising order, as [10, 50, 100]")
        return self

    def selector(self) -> Selector:
        return _exactly(self.nodes)

    def plan(self, release: str) -> Plan:
        """`release`: the reference, resolved."""
        return Plan(release, **self.model_dump(exclude={"release", "nodes"}))


class PullRequest(_OfAModel):
    """`nodes`: ids or names; "all" (also nodes that join while the pull runs); labels; a count or a percentage, which
    may also be of the nodes that carry labels."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"reference": "registry.example/org/model:v1", "nodes": "all", "priority": "prefetch"},
                {"reference": "hf://org/model@main", "nodes": {"labels": {"gpu": "h100"}}},
                {"reference": "org/model:v1", "nodes": {"count": 4}, "priority": "serving"},
                {"reference": "org/model:v1", "nodes": {"labels": {"gpu": "h100"}, "percentage": 25}},
                {"reference": "org/model:v1", "nodes": ["node-1", "node-2"], "deadline": "2030-01-01T06:00:00Z"},
                {"reference": "org/model:v1", "nodes": ["node-1"], "selection": {"rank": "pp=0/2"}},
            ]
        }
    )

    nodes: Nodes
    priority: Literal["serving", "pull", "prefetch"] = "prefetch"
    deadline: Deadline | None = None
    webhook: WebhookRequest | None = None

    def selector(self) -> Selector:
        match self.nodes:
            case "all":
                return Selector(everyone=True)
            case ByLabels(labels=labels, count=count, percentage=percentage):
                return Selector(labels=labels, count=count or 0, percentage=percentage or 0)
            case ByCount(count=count):
                return Selector(count=count)
            case ByPercentage(percentage=percentage):
                return Selector(percentage=percentage)
            case _:
                return Selector(nodes=tuple(sorted(set(self.nodes))))
