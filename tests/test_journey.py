# SPDX-License-Identifier: Apache-2.0
"""The whole way, on a CPU: files -> prepare -> train -> evaluate -> serve -> a completion.

Every step is the command a user types; what one writes is what the next one reads.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

ROOT = Path(__file__).parents[1]
FRUITS = [
    "apple",
    "banana",
    "cherry",
    "damson",
    "elder",
    "fig",
    "grape",
    "haw",
    "kiwi",
    "lime",
    "mango",
    "nectarine",
]
BENCHMARK = {
    "prompt": "def longest_run(values):\n    best = current = 0\n    previous = None\n"
    "    for value in values:\n        current = current + 1 if value == previous else 1\n"
    "        best, previous = max(best, current), value\n    return best\n"
}


def function(fruit: str, size: int) -> str:
    """A function like its neighbours, so that a tiny model soon sees the pattern."""
    return (
        f"def count_{fruit}_{size}(basket, limit={size}):\n"
        f'    """Count the {fruit}s of size {size} that lie in a basket."""\n'
        "    total = 0\n"
        "    for fruit in basket:\n"
        f'        if fruit.name == "{fruit}" and fruit.size >= {size}:\n'
        "            total += 1\n"
        "    return min(total, limit)\n"
    )


def recipe(fruit: str, size: int) -> str:
    """A function of the repository that is held out, no altered copy of the others."""
    return (
        f"def basket_{fruit}_{size}(limit, total, fruit):\n"
        f'    """Lie in the {fruit} basket, that the limit of {size} is in total."""\n'
        f"    if limit in fruit.basket or total.fruit.size == {size}:\n"
        "        for size in fruit.total:\n"
        f'            return size.limit and total.name >= "{fruit}"\n'
        "    limit += fruit.size\n"
        "    return basket(limit, total)\n"
    )


def write_repositories(folder: Path) -> None:
    """Two repositories, `kitchen` to be held out; one file is the solution of a benchmark."""
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    for number, fruit in enumerate(FRUITS):
        name, write = ("kitchen", recipe) if number % 6 == 5 else ("garden", function)
        repository = folder / name
        repository.mkdir(parents=True, exist_ok=True)
        text = "\n\n".join(write(fruit, size) for size in range(2 + number % 3))
        (repository / f"{fruit}.py").write_text(text, encoding="utf-8")
        (repository / "LICENSE").write_text(licence, encoding="utf-8")
    (folder / "garden" / "solution.py").write_text(BENCHMARK["prompt"], encoding="utf-8")


COMMAND = [sys.executable, "-m", "codegemma"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A user's: a cache of its own, and none of the strict settings of tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JAX_NUMPY")}
    return kept | {"CODEGEMMA_CACHE": str(tmp_path / "cache")}


@contextmanager
def serving(model: Path, environment: dict[str, str]) -> Iterator[str]:
    """`codegemma serve` on a free port: its address, once the model is loaded."""
    command = [*COMMAND, "serve", "--port", "0", "--model", str(model)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found is not None, f"the server ended with {process.poll()} and said {line!r}"
        yield found.group()
    finally:
        process.terminate()
        process.wait(timeout=30)
        process.stdout.close()


def post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    """Send JSON, receive JSON."""
    headers = {"Content-Type": "application/json"}
    with urlopen(Request(url, json.dumps(body).encode(), headers), timeout=60) as answer:
        return json.load(answer)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_files_become_a_served_completion(tmp_path: Path, environment: dict[str, str]) -> None:
    sources, data, run = tmp_path / "sources", tmp_path / "data", tmp_path / "run"
    write_repositories(sources)
    benchmark = tmp_path / "benchmark.jsonl"
    benchmark.write_text(json.dumps(BENCHMARK), encoding="utf-8")

    prepare = ["prepare", sources, "--each", "--holdout-fraction", "0.5", "--vocab-size", "600"]
    prepare += ["--decontaminate", benchmark, "--out", data]
    subprocess.run([*COMMAND, *prepare], env=environment, check=True)
    manifest = json.loads((data / "manifest.json").read_text(encoding="utf-8"))
    files = {part: row["files"] for part, row in manifest["totals"].items()}
    assert files == {"train": 10, "heldout": 2}
    assert manifest["dropped"]["contamination"]["benchmark.jsonl#0"]["files"] == 1

    train = ["train", "--recipe", "tiny", "--data", data, "--out", run]
    subprocess.run([*COMMAND, *train], env=environment, check=True)
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [line["loss"] for line in map(json.loads, lines) if line["kind"] == "step"]
    assert losses[-1] < 0.6 * losses[0]

    results = tmp_path / "results"
    evaluate = ["evaluate", "memorization:heldout", "--model", run, "--data", data]
    evaluate += ["--out", results, "--limit", "2", "--json"]
    ran = subprocess.run([*COMMAND, *evaluate], env=environment, check=True, stdout=subprocess.PIPE)
    found = json.loads(ran.stdout)
    assert (found["num_samples"], found["num_missing"]) == (2, 0)
    assert found["metric"]["exact"]["n"] == 2

    body = {"prompt": "def count_fig_9(basket, limit=9):\n    ", "suffix": "\n", "max_tokens": 8}
    with serving(run, environment) as address:
        with urlopen(address + "/health", timeout=60) as answer:
            assert json.load(answer)["status"] == "ok"
        answer = post(address + "/v1/completions", body)
    (choice,) = answer["choices"]
    assert choice["finish_reason"] in ("stop", "length")
    assert 1 <= answer["usage"]["completion_tokens"] <= 8
    assert isinstance(choice["text"], str)
