# SPDX-License-Identifier: Apache-2.0
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from codegemma.completion import CompleterInfo, Completion, FinishReason, Prompt, Sampling
from codegemma.data import synthesize
from codegemma.data.document import File
from codegemma.data.safety import Removals, read_unsafe_lists
from codegemma.errors import ConfigError, InputError

CODE = "".join(f"def step_{i}(value):\n    return value + {i}\n\n\n" for i in range(30))
FILES = [("mine", File(path="a.py", text=CODE)), ("mine", File(path="empty.py", text="\n"))]
PAIR = (
    "[Problem]\nWrite a function that adds seven to a given number.\n"
    "[Solution]\n```python\ndef add_seven(n):\n    return n + 7\n```\n"
)
FINE = "Helpfulness: 5\nCorrectness: 4"


class Scripted:
    """An instruction model that writes `draft` and judges with `verdict`, or answers by rule."""

    def __init__(
        self,
        draft: str = PAIR,
        verdict: str = FINE,
        *,
        name: str = "scripted",
        is_instruction: bool = True,
        finish_reason: FinishReason = "stop",
        answer: Callable[[str], str] | None = None,
    ) -> None:
        self.tokenizer: Any = None
        self.info = CompleterInfo(
            name=name, context_length=8192, mode="psm", is_instruction=is_instruction
        )
        self.asked: list[str] = []
        self._finish_reason: FinishReason = finish_reason
        self._answer = answer or (lambda asked: verdict if asked.startswith("Judge") else draft)

    def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling
    ) -> list[tuple[Completion, ...]]:
        asked = [prompt.turns[0].text for prompt in prompts]
        self.asked += asked
        return [
            (Completion(text=self._answer(text), tokens=(), finish_reason=self._finish_reason),)
            for text in asked
        ]

    def stream(self, *arguments: Any) -> Any:
        raise NotImplementedError

    def loglikelihood(self, *arguments: Any) -> Any:
        raise NotImplementedError


def write(out: Path, *, count: int = 3, model: Scripted | None = None, **more) -> Counter[str]:
    model = model or Scripted()
    return synthesize.write_pairs(FILES, out=out, count=count, writer=model, judge=model, **more)


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_pair_that_is_judged_well_is_kept_as_a_conversation(tmp_path: Path) -> None:
    out = tmp_path / "pairs.jsonl"

    assert write(out) == {"kept": 3}

    assert [row["index"] for row in rows(out)] == [0, 1, 2]
    first = rows(out)[0]
    assert first["origin"].startswith("mine/a.py:")
    assert (first["helpfulness"], first["correctness"], first["model"]) == (5, 4, "scripted")
    assert first["messages"] == [
        {"role": "user", "content": "Write a function that adds seven to a given number."},
        {
            "role": "assistant",
            "content": "```python\ndef add_seven(n):\n    return n + 7\n```",
        },
    ]


def test_the_writer_is_shown_whole_lines_of_a_file_that_has_some(tmp_path: Path) -> None:
    model = Scripted()
    write(tmp_path / "pairs.jsonl", count=8, model=model)

    asked = [text for text in model.asked if not text.startswith("Judge")]
    shown = [text.split("```\n")[1].removesuffix("\n") for text in asked]
    assert len(set(shown)) == 8
    assert all(f"\n{snippet}\n" in f"\n{CODE}\n" for snippet in shown)
    assert max(snippet.count("\n") for snippet in shown) < 20


@pytest.mark.parametrize(
    ("draft", "verdict", "rule"),
    [
        ("I cannot do that.", FINE, "no_sections"),
        ("[Problem]\nAdd.\n[Solution]\n```\nx\n```", FINE, "too_short"),
        (PAIR.replace("```python", "").replace("```", ""), FINE, "no_code"),
        (PAIR.replace("(n):", "(n:"), FINE, "does_not_parse"),
        (PAIR, "Helpfulness: 3\nCorrectness: 5", "not_helpful"),
        (PAIR, "Helpfulness: 5\nCorrectness: 1", "not_correct"),
        (PAIR, "It is fine.", "judgement_unclear"),
        (PAIR, "Helpfulness: 5", "judgement_unclear"),
    ],
)
def test_what_falls_short_is_counted_by_rule_and_its_text_not_kept(
    draft: str, verdict: str, rule: str, tmp_path: Path
) -> None:
    out = tmp_path / "pairs.jsonl"

    assert write(out, count=1, model=Scripted(draft, verdict)) == {rule: 1}

    assert not out.exists()
    assert rows(tmp_path / "pairs.jsonl.rejected") == [
        {"index": 0, "seed": 0, "model": "scripted", "judge": "scripted", "rule": rule}
    ]


def test_an_answer_that_was_cut_off_is_not_kept(tmp_path: Path) -> None:
    model = Scripted(finish_reason="length")

    assert write(tmp_path / "pairs.jsonl", count=1, model=model) == {"cut_off": 1}


def test_code_of_a_language_that_is_not_known_is_taken_as_it_is() -> None:
    draft = synthesize.read_draft(PAIR.replace("python", "cobol"), is_whole=True)

    assert draft.rule == ""


def test_a_stopped_run_goes_on_where_it_was_and_makes_the_same(tmp_path: Path) -> None:
    def half(asked: str) -> str:
        if asked.startswith("Judge"):
            return FINE
        return PAIR if "step_1" in asked else "no"

    model = Scripted(answer=half)
    whole, out = tmp_path / "whole.jsonl", tmp_path / "pairs.jsonl"
    wanted = write(whole, count=8, model=model)
    write(out, count=5, model=model)
    with out.open("a", encoding="utf-8") as file:
        file.write('{"index": 5, "se')  # what a kill leaves

    assert write(out, count=8, model=model) == wanted
    assert set(wanted) == {"kept", "no_sections"}
    assert rows(out) == rows(whole)
    assert rows(tmp_path / "pairs.jsonl.rejected") == rows(tmp_path / "whole.jsonl.rejected")


def test_pairs_of_other_models_are_not_mixed_in(tmp_path: Path) -> None:
    out = tmp_path / "pairs.jsonl"
    write(out, count=1)

    with pytest.raises(InputError, match="with another seed or other models"):
        write(out, count=2, model=Scripted(name="other"))
    with pytest.raises(InputError, match="with another seed or other models"):
        write(out, count=2, seed=1)


def test_models_that_take_no_conversation_and_sources_without_code_are_refused(
    tmp_path: Path,
) -> None:
    plain = Scripted(name="nano", is_instruction=False)

    with pytest.raises(ConfigError, match="nano is no instruction model"):
        synthesize.write_pairs(FILES, out=tmp_path / "p", count=1, writer=Scripted(), judge=plain)
    with pytest.raises(InputError, match="no source file"):
        synthesize.write_pairs(
            FILES[1:], out=tmp_path / "p", count=1, writer=Scripted(), judge=Scripted()
        )


KEY = "AKIA" + "QWERTZUIOPASDFGH"


def test_snippets_pass_the_stages_that_training_data_pass(tmp_path: Path) -> None:
    code = CODE + f"OWNER = 'ada@lovelace.org'\nclient = connect('{KEY}')\n"
    for name, text in {"mine": "MIT License", "theirs": "All rights reserved."}.items():
        (tmp_path / name / "out").mkdir(parents=True)
        (tmp_path / name / "LICENSE").write_text(text, encoding="utf-8")
        for path in ("a.py", "out/b.py", "bad.py"):
            bad = "# a wicked thing\n" if path == "bad.py" else ""
            (tmp_path / name / path).write_text(bad + code, encoding="utf-8")
    sources = [tmp_path / "mine", tmp_path / "theirs"]
    (tmp_path / "list").write_text("term:wicked thing\n", encoding="utf-8")

    found = synthesize.read_sources(
        sources,
        removals=Removals(patterns=("Mine/out/*", "none")),
        scanner=read_unsafe_lists([tmp_path / "list"]),
    )

    assert [(name, file.path) for name, file in found] == [("mine", "a.py")]
    assert KEY not in found[0][1].text
    assert "lovelace" not in found[0][1].text
    unlicensed = synthesize.read_sources(sources, permissive_only=False)
    assert len(unlicensed) == 6
    gone = synthesize.read_sources(sources, removals=Removals(patterns=("MINE",)))
    assert gone == []


def test_algebra_is_written_in_gsm8ks_format(tmp_path: Path) -> None:
    synthesize.write_algebra(tmp_path / "algebra.jsonl", count=8, seed=0)

    found = rows(tmp_path / "algebra.jsonl")
    assert len(found) == 8
    assert found[4] == {
        "question": "Solve for z: z + 3 - 8 - 8 = -18",
        "answer": "Add 8 to both sides: z + 3 - 8 = -10\nAdd 8 to both sides: z + 3 = -2\n"
        "Subtract 3 from both sides: z = -5\n#### -5",
    }
