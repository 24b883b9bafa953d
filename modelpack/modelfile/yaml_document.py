"""YAML that strangers may have written: bounded, no aliases, no tags, no key twice."""

from __future__ import annotations

from typing import Any

from modelpack.errors import InvalidModelfile

_MAX_DEPTH = 32
_MAX_NODES = 200_000


def read_yaml(raw: bytes, *, limit: int, name: str) -> dict[str, Any]:
    """One mapping. Raises InvalidModelfile with the line's number."""
    import yaml

    if len(raw) > limit:
        raise InvalidModelfile(f"{name} has {len(raw)} bytes; at most {limit} are read.")
    try:
        _check_events(yaml.parse(raw, Loader=yaml.SafeLoader), name)
        loader = yaml.SafeLoader(raw)
        try:
            node = loader.get_single_node()
            _check_nodes(node, name)
            document = loader.construct_document(node) if node is not None else None
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as problem:
        line = f", line {problem.problem_mark.line + 1}" if problem.problem_mark else ""
        raise InvalidModelfile(f"{name}{line} is no YAML: {problem.problem}.", remedy="Correct it.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as problem:
        reason = str(problem).partition("\n")[0]
        raise InvalidModelfile(f"{name} is no YAML: {reason}.", remedy="Correct it.") from None
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise InvalidModelfile(f"{name} is no mapping of names.", remedy="It begins with manifestVersion: 1.0.0.")
    return document


def _check_events(events: Any, name: str) -> None:
    import yaml

    depth = 0
    for count, event in enumerate(events):
        if count > _MAX_NODES:
            raise InvalidModelfile(f"{name} has more than {_MAX_NODES} parts.")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        line = event.start_mark.line + 1
        if depth > _MAX_DEPTH:
            raise InvalidModelfile(f"{name}, line {line} is nested deeper than {_MAX_DEPTH}.")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise InvalidModelfile(f"{name}, line {line} has an anchor or alias.", remedy="Write its value instead.")
        if getattr(event, "tag", None):
            raise InvalidModelfile(f"{name}, line {line} has a tag.", remedy="Leave it out.")


def _check_nodes(node: Any, name: str) -> None:
    import yaml

    if isinstance(node, yaml.SequenceNode):
        for child in node.value:
            _check_nodes(child, name)
    elif isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise InvalidModelfile(f"{name}, line {key.start_mark.line + 1} has a key that is no name.")
            _check_nodes(key, name)
            if key.value in seen:
                raise InvalidModelfile(f"{name}, line {key.start_mark.line + 1} says {key.value!r} twice.")
            seen.add(key.value)
            _check_nodes(value, name)
    elif isinstance(node, yaml.ScalarNode):
        node.value = _whole_characters(node, name)


def _whole_characters(node: Any, name: str) -> str:
    """What JSON, which is YAML, escapes as two halves of UTF-16 is one character."""
    try:
        return str(node.value.encode("utf-16-le", "surrogatepass").decode("utf-16-le"))
    except UnicodeDecodeError:
        raise InvalidModelfile(
            f"{name}, line {node.start_mark.line + 1} has half a character.", remedy="Write it whole."
        ) from None
