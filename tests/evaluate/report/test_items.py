# SPDX-License-Identifier: Apache-2.0

import base64
import gzip
import json

from codegemma.completion import Prompt, SourceFile, Turn
from codegemma.evaluate.report import items
from codegemma.evaluate.report.items import pack_items
from codegemma.evaluate.report.runs import read_runs
from codegemma.evaluate.task import Problem


def unpack(*paths):
    packed = pack_items(read_runs(paths))
    return json.loads(gzip.decompress(base64.b64decode(packed)))


def test_items_hold_prompt_completions_verdicts_and_errors_of_every_run(write_run):
    one = write_run("one", [1.0, 0.0])
    two = write_run("two", [0.0], completion="    pass", stderr="Boom")

    found = unpack(one, two)

    assert found["runs"] == ["one", "two"]
    (task,) = found["tasks"]
    assert (task["name"], task["note"]) == ("humaneval", "")
    first, second = task["items"]
    assert first["id"] == "HumanEval/0"
    assert first["parts"] == [["prefix", "def f0():\n"]]
    assert first["solution"] == "    return 0\n"
    assert first["runs"][0] == [
        {
            "text": "    return 1",
            "end": "stop",
            "verdict": "pass",
            "scores": [["stop", 1.0, "pass", ""]],
        }
    ]
    assert first["runs"][1][0]["scores"] == [["stop", 0.0, "fail", "Boom"]]
    assert (second["runs"][0][0]["verdict"], second["runs"][1]) == ("fail", None)


def test_hostile_texts_are_packed_and_made_visible(write_run):
    hostile = "</script><img src=x onerror=alert(1)>\u202e\x1b[2J\ud800"
    path = write_run("one", [0.0], completion=hostile, stderr=hostile)

    packed = pack_items(read_runs([path]))
    (sample,) = unpack(path)["tasks"][0]["items"][0]["runs"][0]

    assert "<" not in packed
    visible = "</script><img src=x onerror=alert(1)><U+202E><U+001B>[2J<U+D800>"
    assert (sample["text"], sample["scores"][0][3]) == (visible, visible)


def test_choices_and_conversations_and_files_are_parts_of_a_prompt():
    chat = Problem(task_id="a", prompt=Prompt(turns=(Turn(role="user", text="hi"),)))
    files = (SourceFile(path="a.py", text="x = 1"),)
    infill = Problem(task_id="b", prompt=Prompt(prefix="p", suffix="", context=files))
    choices = Problem(task_id="c", prompt=Prompt(), pairs=(("2 + 2 =", " 4"), ("2 + 2 =", " 5")))

    assert items._parts(chat) == [["user", "hi"]]
    assert items._parts(infill) == [["file a.py", "x = 1"], ["prefix", "p"], ["suffix", ""]]
    assert items._parts(choices) == [["choice 1", "2 + 2 = 4"], ["choice 2", "2 + 2 = 5"]]


def test_without_the_data_prompts_are_missing_and_why_is_said(write_run, monkeypatch):
    path = write_run("one", [1.0])
    monkeypatch.delenv("CODEGEMMA_BENCHMARKS")

    (task,) = unpack(path)["tasks"]

    assert task["note"].startswith("Prompts are not shown: set CODEGEMMA_BENCHMARKS")
    assert (task["items"][0]["parts"], task["items"][0]["solution"]) == ([], None)
    assert task["items"][0]["runs"][0][0]["text"] == "    return 1"


def test_the_same_runs_give_the_same_bytes(write_run):
    path = write_run("one", [1.0, 0.0])

    assert pack_items(read_runs([path])) == pack_items(read_runs([path]))
