# SPDX-License-Identifier: Apache-2.0
"""How long it takes to choose the files a model is shown beside the one under the cursor.

Times are CPU milliseconds of this process, files in the page cache, over 300 files drawn with seed
0 from a repository of 5,000 files of Python (installed packages side by side). Warm: the index is
in memory, and one call looks for changes on disk and chooses. The parts are measured apart too, as
are what a server does for a prompt (count what it leaves, look for changes once a second, choose),
the first reading, a start from what another process kept, and what a change costs.

Example:
    python benchmarks/bench_context.py tests/golden/tokenizer/tokenizer.model
"""

import argparse
import random
import shutil
import statistics
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from codegemma.completion import CompleterInfo, Prompt, Sampling
from codegemma.context.beside import FilesBeside
from codegemma.context.choose import choose
from codegemma.context.index import RepositoryIndex
from codegemma.text.tokenizer import Tokenizer
from results import Row, cpu_name, write_rows

_PACKAGES = ("transformers", "sympy", "networkx", "jax", "scipy", "sklearn", "pandas", "torch")
_FILES = 5000
_CALLS = 300
_BUDGETS = (500, 2000, 6000)


def main() -> None:
    """Measure, write the rows and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tokenizer", type=Path, help="a tokenizer.model")
    tokenizer = Tokenizer.from_file(parser.parse_args().tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "repository"
        count = _copy(root)
        rows = _measure(root, Path(folder) / "cache.json", tokenizer, f"{count} files")
    print(write_rows("context", rows, device=cpu_name()))
    for row in rows:
        print(f"{row.name:44} {row.value:9.2f} {row.unit}  [{row.low:.2f}, {row.high:.2f}]")


def _copy(root: Path) -> int:
    """Copy Python files of installed packages, whole packages first to last, up to the number."""
    source = Path(sysconfig.get_path("purelib"))
    count = 0
    for name in _PACKAGES:
        for file in sorted((source / name).rglob("*.py")):
            if count == _FILES:
                return count
            target = root / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
            count += 1
    return count


def _measure(root: Path, cache: Path, tokenizer: Tokenizer, note: str) -> list[Row]:
    index = RepositoryIndex(root, cache=cache)
    rows = [_row("first reading", [_spent(index.refresh)], note)]
    starts = [_spent(RepositoryIndex(root, cache=cache).refresh) for _ in range(5)]
    rows.append(_row("start from what was kept", starts, note))
    paths = random.Random(0).sample(sorted(index.edges), _CALLS)
    warm = RepositoryIndex(root)
    warm.refresh()
    rows.append(_row("look for changes", [_spent(warm.refresh) for _ in range(20)], note))
    for budget in _BUDGETS:
        chosen: list[int] = []

        def pick(path: str, budget: int = budget, chosen: list[int] = chosen) -> None:
            shown = choose(warm, path, tokenizer=tokenizer, max_tokens=budget)
            chosen.append(sum(one.num_tokens for one in shown))

        def look_and_pick(path: str, pick: Callable[[str], None] = pick) -> None:
            warm.refresh()
            pick(path)

        spent = [_spent(lambda path=path: pick(path)) for path in paths]
        filled = statistics.mean(chosen) / budget
        rows += [
            _row(f"choose, {budget} tokens", spent, f"{note}; {filled:.2f} of the tokens used"),
            _row(
                f"warm: look for changes and choose, {budget} tokens",
                [_spent(lambda path=path: look_and_pick(path)) for path in paths],
                note,
            ),
        ]
    files = FilesBeside(root, cache=cache)
    files.refresh()
    served = [_spent(lambda path=path: _serve(files, root, path, tokenizer)) for path in paths]
    rows.append(_row("a server's prompt of a context of 8,192", served, note))
    rows.append(_row("a file changes", [_changed(warm, root, path) for path in paths[:20]], note))
    rows.append(_row("a file comes", [_added(warm, root, i) for i in range(5)], note))
    return rows


def _serve(files: FilesBeside, root: Path, path: str, tokenizer: Tokenizer) -> None:
    """Ask in the middle of a file, as an editor does."""
    text = (root / path).read_text(encoding="utf-8")
    half = len(text) // 2
    info = CompleterInfo(name="m", context_length=8192, mode="psm")
    prompt = Prompt(prefix=text[:half], suffix=text[half:], path=path)
    files.show(prompt, Sampling(), tokenizer=tokenizer, info=info)


def _changed(index: RepositoryIndex, root: Path, path: str) -> float:
    with (root / path).open("a", encoding="utf-8") as file:
        file.write("\nimport numpy\n")
    return _spent(index.refresh)


def _added(index: RepositoryIndex, root: Path, number: int) -> float:
    (root / f"new_{number}.py").write_text("import sympy\n", encoding="utf-8")
    return _spent(index.refresh)


def _spent(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return (time.process_time() - start) * 1000


def _row(name: str, spent: list[float], note: str) -> Row:
    ordered = sorted(spent)
    return Row(
        name=name,
        value=statistics.median(ordered),
        unit="ms",
        n=len(ordered),
        low=ordered[len(ordered) // 20],
        high=ordered[len(ordered) * 19 // 20],
        note=f"{note}; median, and the 5th and 95th of a hundred",
    )


if __name__ == "__main__":
    main()
