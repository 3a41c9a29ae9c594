# SPDX-License-Identifier: Apache-2.0
"""Run folders as `codegemma evaluate` leaves them, made of given verdicts without any model."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from codegemma.completion import Prompt
from codegemma.evaluate.problems import write_problems
from codegemma.evaluate.report.card import ModelFacts, Report
from codegemma.evaluate.report.compare import compare_runs
from codegemma.evaluate.report.runs import read_runs
from codegemma.evaluate.report.seconds import read_timings
from codegemma.evaluate.store import write_sample, write_score
from codegemma.evaluate.task import Problem, Sample, Score

MODEL = {
    "context_length": 1024,
    "mode": "psm",
    "is_instruction": False,
    "fingerprint": "ab" * 32,
    "dtype": "float32",
}
SAMPLING = {
    "max_tokens": 512,
    "temperature": 0.0,
    "top_k": None,
    "top_p": None,
    "min_p": None,
    "stop": ["\nclass", "\ndef", "\n#", "\nif", "\nprint"],
    "mode": "auto",
}

WriteRun = Callable[..., Path]


@pytest.fixture
def twelve(few_problems: Path) -> dict[str, str]:
    """The data of twelve problems is on this machine; gives its hash as a run records it."""
    from codegemma.evaluate.tasks import humaneval

    return {humaneval.FILE.name: humaneval.FILE.sha256(few_problems)}


@pytest.fixture
def write_run(tmp_path: Path, twelve: dict[str, str]) -> WriteRun:
    """Write a run of humaneval: the verdicts of problems 0, 1, ..., one sample each."""

    def write(
        name: str,
        verdicts: Sequence[float],
        *,
        task: str = "humaneval",
        metric: dict[str, Any] | None = None,
        model: dict[str, Any] | None = None,
        model_name: str = "nano",
        sampling: dict[str, Any] | None = None,
        data: dict[str, str] | None = None,
        completion: str = "    return 1",
        stderr: str = "AssertionError",
        prompt_sha256: str = "cd" * 32,
        batch: int = 16,
        **result: Any,
    ) -> Path:
        folder = tmp_path / name / task.replace(":", ".")
        folder.mkdir(parents=True)
        passed = sum(verdicts) / len(verdicts)
        figures = {"value": passed, "low": max(0.0, passed - 0.2), "high": min(1.0, passed + 0.2)}
        figures |= {"n": len(verdicts), "n_eff": float(len(verdicts)), "method": "wilson"}
        settings = {
            "task": task,
            "model": MODEL | (model or {}),
            "sampling": SAMPLING | (sampling or {}),
            "path": None,
            "seed": None,
            "data": twelve if data is None else data,
        }
        outcomes = {"fail": verdicts.count(0.0), "pass": verdicts.count(1.0)}
        written = {
            "task": task,
            "n": len(verdicts),
            "metric": {"pass@1": figures | {"variant": "stop"}} if metric is None else metric,
            "num_samples": len(verdicts),
            "num_problems": len(verdicts),
            "num_missing": 0,
            "num_refused": 0,
            "num_prompts_cut": 0,
            "outcomes": outcomes,
            "finish_reasons": {"stop": len(verdicts)},
            "seconds_drawing": 1.5,
            "seconds_running": 0.5,
            "backends": ["bubblewrap"],
            "model": model_name,
            "settings": settings,
            "limit": None,
            "shard": "1/1",
        }
        (folder / "result.json").write_text(json.dumps(written | result))
        session = {
            "started": "2026-11-28T10:00:00+00:00",
            "model": model_name,
            "device": "cpu",
            "batch": batch,
            "n": 1,
            "commit": "0123456789abcdef",
            "versions": {"python": "3.11.7"},
        }
        record = {"format": 1, "settings": settings, "sessions": [session]}
        record["scoring"] = [{"python": "3.11.7", "bubblewrap": "0.8.0"}]
        (folder / "run.json").write_text(json.dumps(record))
        samples, scores = [], []
        for number, verdict in enumerate(verdicts):
            sample = Sample(
                task_id=f"HumanEval/{number}",
                index=0,
                text=completion,
                prompt_sha256=prompt_sha256,
                prompt_tokens=(2, 10 + number),
                finish_reason="stop",
                wall_s=0.125,
            )
            score = Score(
                task_id=sample.task_id,
                index=0,
                variant="stop",
                value=verdict,
                judged_sha256="ef",
                outcome="pass" if verdict == 1.0 else "fail",
                stderr="" if verdict == 1.0 else stderr,
                backend="bubblewrap",
            )
            samples.append(json.dumps(write_sample(sample), ensure_ascii=False) + "\n")
            scores.append(json.dumps(write_score(score), ensure_ascii=False) + "\n")
        for kind, lines in (("samples", samples), ("scores", scores)):
            text = "".join(lines).encode("utf-8", errors="surrogatepass")
            (folder / f"{kind}.jsonl").write_bytes(text)
        return tmp_path / name

    return write


@pytest.fixture
def write_repository_run(write_run: WriteRun) -> WriteRun:
    """Write a run of a repository: two functions, a line of each with and without context.

    The verdicts are of (f, alone), (f, with), (g, alone), (g, with), the seconds too.
    """

    def write(name: str, verdicts: Sequence[float], seconds: Sequence[float]) -> Path:
        ids = [f"{f}/line/{context}" for f in "fg" for context in ("alone", "with context")]
        parts = ["line, alone", "line, with context"]
        figures = {"low": 0.0, "high": 1.0, "n": 4, "n_eff": 2.0}
        metric = {
            "pass@1": figures | {"value": sum(verdicts) / 4, "variant": "stop"},
            "edit-similarity": figures | {"value": 0.5, "variant": "edit-similarity"},
        }
        path = write_run(
            name,
            verdicts,
            task="repo:shop",
            metric=metric,
            data={},
            group=dict.fromkeys(parts, metric),
        )
        folder = path / "repo.shop"
        problems = [
            Problem(
                task_id=one,
                prompt=Prompt(prefix="<b>", suffix=""),
                cluster=one[0],
                group=parts["with" in one],
            )
            for one in ids
        ]
        write_problems(folder, problems)
        for kind in ("samples", "scores"):
            file = folder / f"{kind}.jsonl"
            lines = [json.loads(line) for line in file.read_text().splitlines()]
            for line, one, wall_s in zip(lines, ids, seconds, strict=True):
                line |= {"task_id": one, "wall_s": wall_s}
            if kind == "scores":
                lines += [line | {"variant": "edit-similarity", "value": 0.5} for line in lines]
            file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    return write


@pytest.fixture
def make_report() -> Callable[..., Report]:
    """Make the report of run folders."""

    def make(*paths: Path, facts: ModelFacts | None = None) -> Report:
        runs = read_runs(paths)
        return Report(
            runs=runs,
            facts=[facts or ModelFacts(name=run.model) for run in runs],
            pairs=compare_runs(runs),
            timings=read_timings(runs),
            made="2026-11-28",
            version="0.1.0",
        )

    return make
