"""Whether traces are asked for, without importing what would send them."""

from __future__ import annotations

import os
from collections.abc import Mapping


def wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a collector for traces is named. OpenTelemetry would try localhost by itself; nothing is sent here that
    nobody asked for."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if environment.get("OTEL_TRACES_EXPORTER", "").strip().lower() not in ("", "otlp"):
        return False
    return bool(environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environment.get("OTEL_EXPORTER_OTLP_ENDPOINT"))
