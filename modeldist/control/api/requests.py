"""Bodies that clients send, checked."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, StringConstraints, Tag

from modeldist.control.greeting import MAX_LABELS, MAX_NAME
from modeldist.control.pulls.selection import Selector
from modeldist.control.resolver import MAX_REFERENCE
from modeldist.scheduler.messages import Priority

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
    Field(description="org/model:tag, registry/org/model@sha256:…, hf://org/model@revision, https://…"),
]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ResolveRequest(_Body):
    model_config = ConfigDict(json_schema_extra={"examples": [{"reference": "registry.example/org/model:v1"}]})

    reference: Reference


class ByLabels(_Body):
    """Connected nodes that carry all of these labels."""

    labels: Annotated[dict[Name, LabelValue], Field(min_length=1, max_length=MAX_LABELS)]


class ByCount(_Body):
    """Any so many connected nodes, those with the fewest running pulls first."""

    count: Annotated[int, Field(ge=1, le=100_000)]


def _way(nodes: object) -> str | None:
    """Which way of naming nodes is meant, so that what is wrong is said of that way alone."""
    if isinstance(nodes, ByLabels) or (isinstance(nodes, dict) and "labels" in nodes):
        return "labels"
    if isinstance(nodes, ByCount) or (isinstance(nodes, dict) and "count" in nodes):
        return "count"
    if isinstance(nodes, list):
        return "names"
    return "all" if nodes == "all" else None


Nodes = Annotated[
    Annotated[list[Name], Field(min_length=1, max_length=10_000), Tag("names")]
    | Annotated[Literal["all"], Tag("all")]
    | Annotated[ByLabels, Tag("labels")]
    | Annotated[ByCount, Tag("count")],
    Discriminator(
        _way,
        custom_error_type="nodes",
        custom_error_message='Write "all", a list of names or ids, {"labels": {…}} or {"count": N}',
    ),
]


class PullRequest(_Body):
    """`nodes`: ids or names; "all" (also nodes that join while the pull runs); labels; or a count."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"reference": "registry.example/org/model:v1", "nodes": "all", "priority": "prefetch"},
                {"reference": "hf://org/model@main", "nodes": {"labels": {"gpu": "h100"}}},
                {"reference": "org/model:v1", "nodes": {"count": 4}, "priority": "serving"},
                {"reference": "org/model:v1", "nodes": ["node-1", "node-2"]},
            ]
        }
    )

    reference: Reference
    nodes: Nodes
    priority: Literal["serving", "pull", "prefetch"] = "prefetch"

    def selector(self) -> Selector:
        match self.nodes:
            case "all":
                return Selector(everyone=True)
            case ByLabels(labels=labels):
                return Selector(labels=labels)
            case ByCount(count=count):
                return Selector(count=count)
            case _:
                return Selector(nodes=tuple(sorted(set(self.nodes))))
