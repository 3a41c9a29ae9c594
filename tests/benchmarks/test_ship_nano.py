# SPDX-License-Identifier: Apache-2.0
"""Shipping from end to end, on a model that has learned nothing."""

import json
from pathlib import Path

import pytest

import ship_nano
from codegemma.errors import ConfigError
from codegemma.generate.verify import Check, Report, verify
from codegemma.model.manifest import read_manifest, verify_manifest

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("CODEGEMMA_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a model pass whose completions do not end, as one without training cannot."""
    examine = ship_nano.examine

    def examine_all_but_ends(*arguments: object, **settings: object) -> Report:
        report = examine(*arguments, **settings)
        checks = tuple(check for check in report.checks if check.name != "completions")
        return Report(
            model=report.model,
            fingerprint=report.fingerprint,
            checks=checks,
            mode=report.mode,
            nll=report.nll,
            shown=report.shown,
        )

    monkeypatch.setattr(ship_nano, "examine", examine_all_but_ends)


def ship(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr("sys.argv", ["ship_nano.py", *map(str, words)])
    return ship_nano.main()


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("lenient")
def test_a_run_becomes_a_verified_folder_and_does_not_replace_its_equal(
    run: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    target = tmp_path / "nano"
    monkeypatch.setattr(ship_nano, "PACKAGE", target)
    monkeypatch.setattr(ship_nano, "write_rows", lambda *_, **__: tmp_path / "results.json")
    words = ("--run", run, "--data", data, "--lines", 6)

    assert ship(monkeypatch, *words) == 0

    manifest = read_manifest(target)
    assert manifest is not None
    verify_manifest(target, manifest)
    assert {*manifest.files, "manifest.json"} == {path.name for path in target.iterdir()}
    assert "README.md" in manifest.files
    metadata = json.loads((target / "codegemma.json").read_text(encoding="utf-8"))
    assert (metadata["name"], metadata["mode"], metadata["licence"]) == (
        "nano",
        "spm",
        "Apache-2.0",
    )
    assert set(metadata["training"]["middle_nll"]) == {"psm", "spm", "spm2"}
    passed = {check.name: check.is_passed for check in verify(target).checks}
    assert passed["middles"]
    before = {path.name: path.stat().st_mtime_ns for path in target.iterdir()}
    capsys.readouterr()

    assert ship(monkeypatch, *words) == 2

    assert "not shipped: the new model has" in capsys.readouterr().err
    assert {path.name: path.stat().st_mtime_ns for path in target.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nano", "run"]


def test_data_of_another_run_are_refused(run: Path, data: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    text = (data / "manifest.json").read_text(encoding="utf-8")
    (other / "manifest.json").write_text(text + "\n", encoding="utf-8")

    with pytest.raises(ConfigError, match="trained on data whose manifest has sha256"):
        ship_nano.build([run], other, tmp_path / "nano", num_lines=6, shipped=None)


def test_a_model_that_fails_its_verification_is_not_shipped(
    run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = Check(name="completions", is_passed=False, detail="0 of 3 ended")
    report = Report(model="nano", fingerprint="", checks=(failed,), mode="spm", nll={}, shown=())
    monkeypatch.setattr(ship_nano, "examine", lambda *_, **__: report)
    monkeypatch.setattr(ship_nano, "measure", lambda *_, **__: [])
    monkeypatch.setattr(ship_nano, "render_card", lambda *_, **__: "card\n")

    with pytest.raises(ConfigError, match="does not pass `codegemma verify`; nothing was shipped"):
        ship_nano.build([run], data, tmp_path / "nano", num_lines=4, shipped=None)
