# SPDX-License-Identifier: Apache-2.0
"""What a run's numbers rest on: settings its samples share, and what drew and what ran them."""

import platform
import shutil
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from codegemma.completion import CompleterInfo
from codegemma.evaluate.drawing import DrawSettings
from codegemma.evaluate.task import Task
from codegemma.sandbox.landlock import landlock_version
from codegemma.sandbox.languages import find_toolchain
from codegemma.sandbox.run import Isolation

_PACKAGES: Final = ("codegemma", "jax", "numpy")
_FREE: Final = ("n", "seed", "budget_ms", "logprobs")


def shared_settings(
    task: Task, data: Path, draw: DrawSettings, *, info: CompleterInfo | None
) -> dict[str, Any]:
    """Give what all samples of one folder have in common.

    More samples, other problems and another batch may join a folder. A model is told by the hash
    of its weights, by its name only where it has none, a server's without the address; None leaves
    the model out.
    """
    sampling = asdict(draw.sampling(task))
    for name in _FREE:
        del sampling[name]
    # What is off is left out: a setting that comes later does not refuse the runs before it.
    sampling = {
        name: value for name, value in sampling.items() if value is not None and value is not False
    }
    model = asdict(info) if info else {}
    for name in ("device", "name") if info and info.fingerprint else ("device",):
        model.pop(name, None)
    if info and info.device == "remote" and "name" in model:
        model["name"] = info.name.rpartition("#")[2]  # the same model may be served elsewhere
    for name in ("revision", "most_read"):
        if model.get(name) is None:
            model.pop(name, None)
    return {
        "task": task.name,
        "model": model,
        "sampling": sampling,
        "path": draw.path,
        "seed": draw.seed if draw.temperature > 0 else None,
        "data": {file.name: file.sha256(data) for file in task.files},
    }


def session(draw: DrawSettings, *, model: str, device: str) -> dict[str, Any]:
    """Give what this process draws with, the model by the name that it was asked for."""
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": model,
        "device": device,
        "batch": draw.batch,
        "n": draw.n,
        "commit": _commit(),
        "versions": versions,
    }


def program_versions(task: Task, isolation: Isolation) -> dict[str, str]:
    """Give the versions of what runs and isolates a task's programs.

    Args:
        task: The task.
        isolation: Kind of the sandbox that they ran in.

    Raises:
        PrerequisiteError: The tools of the task's language are not installed.
    """
    found = {"python": platform.python_version()}
    found |= {name: version(name) for name in task.packages}
    if task.language is None:
        return found
    bwrap = shutil.which("bwrap")
    if isolation == "landlock":
        found["landlock"] = str(landlock_version())
    elif bwrap is not None:
        found["bubblewrap"] = _words([bwrap, "--version"]).removeprefix("bubblewrap ")
    if task.language != "python":
        found[task.language] = find_toolchain(task.language).version
    return found


def _commit() -> str | None:
    """Give the commit of the checkout that this code runs from, None outside of one."""
    git = shutil.which("git")
    folder = Path(__file__).parents[3]
    if git is None or not (folder / ".git").exists():
        return None
    return _words([git, "-C", str(folder), "rev-parse", "HEAD"]) or None


def _words(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
