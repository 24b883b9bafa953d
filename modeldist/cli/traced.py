"""What a command does, as the root of a trace: where OTEL_* names a collector, and at no cost where it does not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from modeldist.cli.terminal import say
from modeldist.tracing import NO_SPAN, Span, shown, span, within
from modeldist.tracing.asked import wanted
from modeldist.tracing.context import VARIABLE

PATIENCE = 2.0  # seconds that a person waits for a collector which does not answer


@contextmanager
def traced(command: str, reference: str) -> Iterator[Span]:
    """Around a command about `reference`. What it asks of an agent or a control plane belongs to its span, or to that
    of TRACEPARENT where this process sends none."""
    if not wanted():
        with within(os.environ.get(VARIABLE, "")):
            yield NO_SPAN
        return
    from modeldist.tracing.exporting import exporting

    with (
        exporting("modeldist", lambda text: say(f"modeldist: {text}"), patience=PATIENCE, quiet=True),
        span(f"modeldist {command}", reference=shown(reference)) as root,
    ):
        yield root
