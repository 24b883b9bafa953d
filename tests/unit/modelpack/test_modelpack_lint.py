"""Lint: every rule is broken by a model that shows it, and by none that our own builder makes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from modelpack import mediatypes
from modelpack.build import build
from modelpack.chunk_table import CHUNK_TABLE_ANNOTATION, BlobChunks, ChunkTable, encode_table
from modelpack.config import ModelDescriptor
from modelpack.errors import BuildError, LayoutError
from modelpack.layout import OciLayout
from modelpack.lint import RULES, Report, lint_directory, lint_layout, rule_table, sarif
from modelpack.lint.licenses import canonical_license
from modelpack.referrers import attachment
from tests.servers.artifacts import Written, safetensors, sha256, tar
from tests.unit.modelpack import lint_cases
from tests.unit.modelpack.lint_cases import BREAKS

# rules that need another place than a layout: a registry's large archive, a directory
ELSEWHERE = {"MP808", "MP904"}
PAGE = Path(__file__).parents[3] / "docs" / "modelpack" / "lint-rules.md"


def lint(model: Written, path: Path, **options: bool) -> Report:
    (report,) = lint_layout(model.into_layout(path / "layout"), model.name, **options)
    return report


def rules(report: Report) -> set[str]:
    return {finding.rule for finding in report.findings}


@pytest.mark.parametrize("rule", BREAKS)
def test_a_broken_rule_is_found(rule, tmp_path):
    report = lint(BREAKS[rule](), tmp_path, digests=rule == "MP903")
    found = [finding for finding in report.findings if finding.rule == rule]
    assert found, report.findings
    assert all(finding.message.endswith((".", ".]")) for finding in found)
    assert report.counts[found[0].severity] >= 1


def test_every_rule_has_a_model_that_breaks_it():
    assert BREAKS.keys() | ELSEWHERE == RULES.keys()


def test_the_clean_model_breaks_none(tmp_path):
    report = lint(lint_cases.model(), tmp_path, digests=True)
    assert report.findings == ()
    assert report.worst is None
    assert (report.dialect, report.digest) == ("cncf", lint_cases.model().digest)


@pytest.mark.parametrize("encoding", ["raw", "tar", "tar+gzip", "tar+zstd"])
def test_what_our_builder_makes_breaks_none(tmp_path, encoding):
    """But for weights, which are compressed only when that is asked for."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "model.safetensors").write_bytes(lint_cases.TENSORS)
    (source / "config.json").write_text('{"model_type": "tiny", "torch_dtype": "bfloat16"}')
    (source / "LICENSE").write_text("MIT")
    assert lint_directory(source).findings == ()
    layout = OciLayout.create(tmp_path / "layout")
    about = ModelDescriptor(name="tiny", licenses=("MIT",))
    build(source, layout, ref="v1", about=about, encodings=dict.fromkeys(mediatypes.KINDS, encoding))
    (report,) = lint_layout(layout, digests=True)
    assert rules(report) == ({"MP203"} if encoding in ("tar+gzip", "tar+zstd") else set())


def test_gguf_files(tmp_path):
    """Whole ones break nothing, split or not; several quantizations are the model several times."""
    names = {"m-Q4.gguf": {}, "m-Q8.gguf": {}}
    split = {
        f"m-0000{n + 1}-of-00002.gguf": {"split_no": n, "split_count": 2, "split_tensors_count": 0} for n in (0, 1)
    }
    for number, files in enumerate((names, split)):
        layers = [
            *lint_cases.CLEAN[1:],
            *(lint_cases.raw(name, lint_cases.gguf(**more)) for name, more in files.items()),
        ]
        config = lint_cases.config_of(layers, config={"paramSize": "7b", "format": "gguf"})
        found = rules(lint(lint_cases.model(*layers, config=config), tmp_path / str(number)))
        assert found == ({"MP320"} if files is split else set())


def test_a_chunk_table_that_proves_other_bytes(tmp_path):
    """Its chunks are compared when everything is read, whatever it says of digests and sizes."""
    blob = BlobChunks(sha256(lint_cases.TENSORS), len(lint_cases.TENSORS), 256 * 1024, bytes(32))
    table = encode_table(ChunkTable((blob,)))
    named = lint_cases.model(annotations={CHUNK_TABLE_ANNOTATION: sha256(table)})
    model = Written(named.name, named.documents, {**named.blobs, sha256(table): table})
    assert rules(lint(model, tmp_path / "quick")) == set()
    assert rules(lint(model, tmp_path / "whole", digests=True)) == {"MP907"}


def test_a_layout_of_several_models(tmp_path):
    layout = OciLayout.create(tmp_path / "layout")
    with pytest.raises(LayoutError, match="no manifests"):
        lint_layout(layout)
    for name in ("MP502", "MP511"):
        other = BREAKS[name]().into_layout(tmp_path / name)
        shutil.copytree(other.path / "blobs", layout.path / "blobs", dirs_exist_ok=True)
        layout.add_manifest(BREAKS[name]().documents[-1].data, name)
    assert {report.target.rpartition(":")[2]: bool(rules(report)) for report in lint_layout(layout)} == {
        "MP502": True,
        "MP511": True,
    }
    with pytest.raises(LayoutError, match="holds no"):
        lint_layout(layout, "other")


def test_signatures_and_tables_about_a_model_are_no_models(tmp_path):
    model = lint_cases.model()
    layout = model.into_layout(tmp_path / "layout")
    about = attachment(layout.resolve("model"), "application/x", b"proof")
    for descriptor, data in about.blobs:
        layout.blobs.add(data, descriptor.media_type)
    layout.add_manifest(about.raw)
    layout.add_manifest(about.raw, f"sha256-{'0' * 64}.sig")
    (report,) = lint_layout(layout)
    assert (report.digest, report.findings) == (model.digest, ())


def test_findings_say_where(tmp_path):
    report = lint(BREAKS["MP207"](), tmp_path)
    (found,) = [finding for finding in report.findings if finding.rule == "MP207"]
    assert (found.path, found.pointer, found.layer) == ("model.safetensors", "/layers/0/annotations", 0)
    config = lint(BREAKS["MP315"](), tmp_path / "config")
    assert [finding.pointer for finding in config.findings] == ["config-blob#/descriptor/docURL"]


def test_every_unsafe_name_is_told_once(tmp_path):
    model = lint_cases.model(lint_cases.raw("../a", b"1"), lint_cases.raw("/b", b"2"), lint_cases.raw("c", b"3"))
    found = [finding for finding in lint(model, tmp_path).findings if finding.rule == "MP401"]
    assert [finding.path for finding in found] == ["../a", "/b"]


def test_headers_inside_archives(tmp_path):
    """Of an uncompressed archive by ranges, of a compressed one from the stream."""
    broken = safetensors({"a": ("F32", [1], bytes(4))})[:-1]
    for encoding in ("tar", "tar+gzip", "tar+zstd"):
        model = lint_cases.archive(tar({"x/model.safetensors": broken}), "all", "weight", encoding)
        found = [finding for finding in lint(model, tmp_path / encoding).findings if finding.rule == "MP610"]
        assert [finding.path for finding in found] == ["x/model.safetensors"]


def test_a_compressed_archive_that_is_not_its_diff_id(tmp_path):
    layers = [*lint_cases.CLEAN, lint_cases.packed("docs", tar({"a.md": b"a"}), "doc", "tar+zstd")]
    other = [*lint_cases.CLEAN, lint_cases.packed("docs", tar({"b.md": b"b"}), "doc", "tar+zstd")]
    report = lint(lint_cases.model(*layers, config=lint_cases.config_of(other)), tmp_path)
    assert rules(report) == {"MP308"}


def test_two_families_of_a_directory(tmp_path):
    for name in ("consolidated.safetensors", "model.safetensors", "aux.safetensors"):
        (tmp_path / name).write_bytes(lint_cases.TENSORS)
    report = lint_directory(tmp_path)
    assert {"MP501", "MP402", "MP514"} <= rules(report)
    assert (report.dialect, report.digest, report.worst) == ("directory", "", "warning")


def test_a_directory_that_cannot_be_built(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").symlink_to("/etc/hostname")
    assert rules(lint_directory(tmp_path / "model")) == {"MP904"}
    with pytest.raises(BuildError, match="no directory"):
        lint_directory(tmp_path / "missing")


def test_many_findings_of_one_rule_are_counted_and_not_all_listed(tmp_path):
    names = [lint_cases.noted(lint_cases.raw(f"{n}.txt", b"x", "doc"), title=None) for n in range(130)]
    report = lint(lint_cases.model(*lint_cases.CLEAN, *names), tmp_path)
    assert report.counts["warning"] == 130
    assert (len(report.findings), report.left_out) == (100, {"MP206": 30})


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("MIT", "MIT"),
        ("mit", "MIT"),
        ("Apache-2.0 OR MIT", "Apache-2.0 OR MIT"),
        ("(gpl-3.0-or-later WITH GCC-exception-3.1) AND BSD-3-Clause", None),
        ("LicenseRef-llama3.1", "LicenseRef-llama3.1"),
        ("DocumentRef-a:LicenseRef-b OR MIT", "DocumentRef-a:LicenseRef-b OR MIT"),
        ("llama3.1", None),
        ("MIT OR", None),
        ("", None),
    ],
)
def test_license_expressions(text, canonical):
    expected = "(GPL-3.0-or-later WITH GCC-exception-3.1) AND BSD-3-Clause" if text.startswith("(") else canonical
    assert canonical_license(text) == expected


def test_the_json_form(tmp_path):
    report = lint(BREAKS["MP310"](), tmp_path)
    document = json.loads(json.dumps(report.to_dict()))
    assert document["counts"] == {"error": 0, "warning": 1, "note": 0}
    (found,) = document["findings"]
    assert (found["rule"], found["name"], found["severity"]) == ("MP310", "param-size", "warning")
    assert found["remedy"] and found["section"] and found["pointer"] == "config-blob#/config/paramSize"


def test_sarif(tmp_path):
    """The members that SARIF 2.1.0 requires (3.13, 3.14, 3.18, 3.19, 3.27, 3.28, 3.49), and what viewers need."""
    reports = [lint(BREAKS[rule](), tmp_path / rule) for rule in ("MP207", "MP401", "MP510")]
    directory = tmp_path / "a directory"
    directory.mkdir()
    (directory / "model.safetensors").write_bytes(b"<html>")
    reports.append(lint_directory(directory))
    document = json.loads(sarif.encode(reports, tool="tests", version="1.0"))
    assert document["version"] == "2.1.0"
    assert document["$schema"].endswith("sarif-schema-2.1.0.json")
    (run,) = document["runs"]
    driver = run["tool"]["driver"]
    assert (driver["name"], driver["version"]) == ("tests", "1.0")
    assert [rule["id"] for rule in driver["rules"]] == list(RULES)
    for rule in driver["rules"]:
        assert rule["shortDescription"]["text"] and rule["help"]["text"]
        assert rule["defaultConfiguration"]["level"] in ("error", "warning", "note")
    assert len(run["results"]) == sum(len(report.findings) for report in reports)
    for result in run["results"]:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("error", "warning", "note")
        assert result["message"]["text"]
        for location in result["locations"]:
            uri = location["physicalLocation"]["artifactLocation"]["uri"]
            assert uri and " " not in uri
            assert all(logical["fullyQualifiedName"] for logical in location.get("logicalLocations", []))
    fingerprints = [result["partialFingerprints"]["modelpackLint/v1"] for result in run["results"]]
    assert len(set(fingerprints)) == len(fingerprints)
    assert any(
        result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].endswith(
            "a%20directory/model.safetensors"
        )
        for result in run["results"]
    )


def test_the_page_of_rules_is_the_rules():
    """`python -m modelpack.lint.rule_table > docs/modelpack/lint-rules.md` writes it."""
    assert PAGE.read_text() == rule_table.page()
    assert {rule for _, rules in rule_table.REQUIREMENTS for rule in rules} <= RULES.keys()
