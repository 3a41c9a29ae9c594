# SPDX-License-Identifier: Apache-2.0
import errno
from pathlib import Path

import pytest
from filelock import FileLock

from codegemma.data import output
from codegemma.errors import ConfigError, InputError


@pytest.mark.parametrize(
    "name", ["shards", "report.json", "report.html", "tokenizer.model", "signals.jsonl.gz"]
)
def test_what_a_user_had_there_is_never_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine").write_text("years of work", encoding="utf-8")

    with (
        pytest.raises(ConfigError, match=rf"already has {name}, which no run of .*empty folder"),
        output.claimed(tmp_path),
    ):
        raise AssertionError("not to be reached")

    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name / "mine").read_text(encoding="utf-8") == "years of work"


def test_a_link_to_nowhere_is_something_a_user_had(tmp_path: Path) -> None:
    (tmp_path / "shards").symlink_to(tmp_path / "disk-that-is-not-mounted")

    with pytest.raises(ConfigError, match="already has shards"):
        output.refuse_foreign(tmp_path)


def test_other_files_beside_a_data_set_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("x", encoding="utf-8")

    with output.claimed(tmp_path) as partial:
        (partial / "report.json").write_text("{}", encoding="utf-8")
        (partial / "manifest.json").write_text("{}", encoding="utf-8")
        output.publish(partial, tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "log.txt",
        "manifest.json",
        "report.json",
    ]


def test_a_run_that_was_stopped_is_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    (tmp_path / ".partial").mkdir()
    (tmp_path / ".partial" / "half").write_text("x", encoding="utf-8")

    with output.claimed(tmp_path) as partial:
        assert (partial / "half").exists()


def test_the_lock_goes_while_it_is_held_so_that_no_two_hold_one_each(tmp_path: Path) -> None:
    seen: list[bool] = []

    class Lock(FileLock):
        def release(self, force: bool = False) -> None:
            seen.append((tmp_path / ".lock").exists())
            super().release(force)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "FileLock", Lock)
        with output.claimed(tmp_path):
            pass

    assert seen[0] is False


def test_a_second_run_is_refused_and_takes_no_lock_away(tmp_path: Path) -> None:
    with output.claimed(tmp_path):
        for _ in range(2):
            with (
                pytest.raises(ConfigError, match="another run is preparing data"),
                output.claimed(tmp_path),
            ):
                raise AssertionError("not to be reached")


def test_a_file_and_a_full_disk_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")

    with pytest.raises(InputError, match="file is no folder"), output.claimed(tmp_path / "file"):
        pass
    with (
        pytest.raises(InputError, match=r"the disk of .* is full; make room"),
        output.claimed(tmp_path / "out"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
