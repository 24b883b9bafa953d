"""The benchmarks of the data path run, with a real nginx and real agents; what they measure decides nothing here."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from modeldist.bench import peers, single, small_files, start, stream, transports

pytestmark = pytest.mark.skipif(
    shutil.which("nginx", path="/usr/sbin:/usr/bin") is None, reason="nginx is not installed"
)


def test_single_prints_a_line_per_contender(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    single.main(["--size", "2", "--repeat", "1", "--directory", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "load" in printed.splitlines()[0]
    assert "| modeldist http |" in printed and "| modeldist hf |" in printed
    assert list(tmp_path.iterdir()) == []


def test_start_tells_what_was_asked_for_a_model_that_is_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start.main(["--repeat", "2", "--directory", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "| `modeldist --help` |" in printed
    for name in ("pull, from a registry", "pull, from Hugging Face", "pull, from a URL"):
        (line,) = (line for line in printed.splitlines() if line.startswith(f"| {name} |"))
        assert line.endswith("| HEAD | 0 |")
    assert list(tmp_path.iterdir()) == []


def test_small_files_prints_the_ratio_to_the_bytes_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small_files.main(["--files", "5", "--large", "1", "--repeat", "1", "--directory", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "| modeldist, all files |" in printed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_peers_pulls_from_the_other_agent_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    peers.main(["--size", "2", "--repeat", "1", "--directory", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "| agent → agent, digests on |" in printed and "sum of its parts" in printed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_what_tls_between_nodes_costs_is_printed_as_ratios(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for benchmark, row in ((peers, "agent → agent, digests on, TLS"), (transports, "piece protocol, TLS")):
        benchmark.main(["--tls", "--size", "2", "--repeat", "1", "--directory", str(tmp_path)])
        printed = capsys.readouterr().out
        assert f"| {row} |" in printed
        assert re.search(r"TLS ÷ in the clear: CPU \d+\.\d\d, goodput \d+\.\d\d", printed), printed
        assert list(tmp_path.iterdir()) == []


def test_stream_compares_with_a_pull_that_is_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stream.main(["--size", "4", "--repeat", "1", "--rate", "100", "--directory", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "| pull alone |" in printed and "| load alone |" in printed
    assert "All 32 tensors, in each of 1 rounds, were bit by bit those of the snapshot." in printed
    assert list(tmp_path.iterdir()) == []


def test_transports_names_the_libraries_it_misses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = tmp_path / "python"  # an interpreter without packages
    bare.write_text("#!/bin/sh\nexit 1\n")
    bare.chmod(0o700)
    transports.main(["--size", "2", "--repeat", "1", "--python", str(bare), "--directory", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "| piece protocol |" in printed
    assert "Not importable here: libtorrent, NIXL, UCX TCP, Mooncake TCP." in printed
