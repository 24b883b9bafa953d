"""These tests make and remove RDMA devices: they run where that harms nobody, in the machine of `make test-rdma`."""

from __future__ import annotations

import os
import sys

import pytest

from rdma.verbs.library import library

collect_ignore_glob = [] if os.environ.get("MODELDIST_TEST_RDMA") == "1" else ["test_*.py"]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Say at once what failed: the machine may not live to the end."""
    if report.failed:
        sys.stderr.write(f"\n{report.nodeid} ({report.when}) failed:\n{report.longreprtext[-1500:]}\n")
        sys.stderr.flush()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which pyverbs it was."""
    if os.environ.get("MODELDIST_TEST_RDMA") == "1":
        enums = library().enums
        terminalreporter.write_line(f"pyverbs: {enums.__name__} of {enums.__file__}")
