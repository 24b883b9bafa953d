"""The 27 config cases of the specification's own schema test, read where they are kept: beside the repository."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from modelpack.config import parse_config
from modelpack.errors import InvalidConfig

FOLDER = Path(os.environ.get("MODELDIST_CONFORMANCE", Path(__file__).parents[3] / "shared" / "conformance"))
CASES = FOLDER / "model-spec-config-cases.json"

pytestmark = pytest.mark.skipif(not CASES.is_file(), reason=f"the conformance data is not in {FOLDER}")
cases = json.loads(CASES.read_text()) if CASES.is_file() else []


@pytest.mark.parametrize("case", cases, ids=[case["name"] for case in cases])
def test_the_verdict_is_the_specifications(case):
    raw = case["config"].encode()
    if case["fail"]:
        with pytest.raises(InvalidConfig):
            parse_config(raw, strict=True)
        assert parse_config(raw, strict=False).deviations != ()
    else:
        assert parse_config(raw, strict=True).deviations == ()


def test_all_cases_are_there():
    assert len(cases) == 27
