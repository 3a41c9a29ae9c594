# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from codegemma.cli.output import visible
from codegemma.completion import Prompt, Sampling, SourceFile


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = tmp_path / "app.py"
    made.write_bytes(b"def f():\n    \nprint(f())\n")
    return made


def test_only_the_completion_is_printed(run, fakes, file):
    completer = fakes.ScriptedCompleter("return 42")
    assert run("complete", "app.py:2:5", completer=completer) == (0, "return 42", "")
    assert completer.prompts == [
        Prompt(prefix="def f():\n    ", suffix="\nprint(f())\n", path="app.py")
    ]
    assert completer.samplings == [Sampling(heal=True)]


def test_the_files_line_ends_are_kept(run, fakes, file):
    file.write_bytes(b"def f():\r\n    \r\nprint(f())\r\n")
    completer = fakes.ScriptedCompleter("x = 1\n    return x")
    ran = run("complete", "app.py:2:5", completer=completer)
    assert ran.out == "x = 1\r\n    return x"
    assert completer.prompts[0].prefix == "def f():\n    "


def test_every_option_reaches_the_model(run, fakes, file):
    completer = fakes.ScriptedCompleter("ab")
    words = (
        "complete app.py:1:1 --mode spm --max-tokens 9 --temperature 0.5 --top-k 3 --top-p 0.9 "
        "--min-p 0.1 --seed 7 --n 2 --stop END --stop ; --path src/x.py --no-heal"
    )
    assert run(*words.split(), completer=completer).status == 0
    assert completer.samplings == [
        Sampling(
            max_tokens=9,
            temperature=0.5,
            top_k=3,
            top_p=0.9,
            min_p=0.1,
            seed=7,
            n=2,
            stop=("END", ";"),
            mode="spm",
        )
    ]
    assert completer.prompts[0].path == "src/x.py"


def test_several_completions_are_drawn_and_told_apart(run, fakes, file):
    completer = fakes.ScriptedCompleter(lambda _, index: f"x = {index}")
    ran = run("complete", "app.py:2:5", "--n", "3", completer=completer)
    assert ran.out == "x = 0\n---\nx = 1\n---\nx = 2"
    assert completer.samplings[0].temperature == 0.7


def test_json_is_one_object_with_text_tokens_and_timings(run, fakes, file):
    ran = run("complete", "app.py:2:5", "--json", completer=fakes.ScriptedCompleter("hi"))
    found = json.loads(ran.out)
    assert ran.out.count("\n") == 1
    assert found["model"] == "scripted"
    (completion,) = found["completions"]
    assert completion["text"] == "hi"
    assert completion["tokens"] == [1104, 1105, 1]
    assert completion["finish_reason"] == "stop"
    assert completion["timings"]["total_ms"] == 10.0


def test_standard_input_is_completed_under_the_path_given(run, fakes):
    completer = fakes.ScriptedCompleter("pass")
    ran = run("complete", "-:1:9", "--path", "lib/a.py", completer=completer, stdin=b"def f(): \n")
    assert ran == (0, "pass", "")
    assert completer.prompts == [Prompt(prefix="def f():", suffix=" \n", path="lib/a.py")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("complete", "Missing argument 'FILE:LINE:COL'."),
        ("complete app.py", "expected FILE:LINE:COL, such as src/app.py:10:5, not 'app.py'"),
        ("complete app.py:99:1", "app.py has lines 1 to 4, not 99"),
        ("complete app.py:1:99", "line 1 of app.py has columns 1 to 9, not 99"),
        ("complete gone.py:1:1", "there is no file gone.py"),
        ("complete app.py:1:1 --mode fim", "--mode must be one of auto, psm, spm, spm2, not 'fim'"),
        ("complete app.py:1:1 --n 0", "Invalid value for '--n'"),
        ("complete app.py:1:1 --temperature -1", "Invalid value for '--temperature'"),
        ("complete app.py:1:1 --top-p 0", "top_p must be in (0, 1], not 0.0"),
        ("complete app.py:1:1 --stop ", "a stop string must not be empty"),
    ],
)
def test_a_mistake_gives_one_line_and_status_2(run, fakes, file, words, message):
    ran = run(*words.split(" "), completer=fakes.ScriptedCompleter())
    assert ran.status == 2
    assert ran.out == ""
    assert ran.err.startswith(f"codegemma: {message}")
    assert ran.err.count("\n") == 1


def test_a_prompt_that_does_not_fit_is_a_mistake_with_both_counts(run, fakes, file):
    ran = run("complete", "app.py:1:1", completer=fakes.ScriptedCompleter(context_length=20))
    assert ran.status == 2
    assert "the context holds 20" in ran.err


def test_explain_needs_a_model_that_shows_its_tokens(run, fakes, file):
    ran = run("complete", "app.py:1:1", "--explain", completer=fakes.ScriptedCompleter())
    assert ran.status == 2
    assert "--explain needs a model in this process" in ran.err


def test_explain_shows_the_prompt_and_its_ids_beside_the_completion(run, fakes, file, tokenizer):
    completer = fakes.ScriptedCompleter("return 42")
    completer.tokenizer = tokenizer
    ran = run("complete", "app.py:2:5", "--explain", completer=completer)
    assert ran.status == 0
    assert ran.out == "return 42"
    shown = "<bos>app.py\n<|fim_prefix|>def f():\n<|fim_suffix|>\nprint(f())\n<|fim_middle|>"
    assert shown in ran.err
    assert "\ntyped   '    ', drawn again\n" in ran.err
    ids = ran.err.split("ids     ")[1].splitlines()[0].split()
    assert ids[0] == "2"
    assert [token for token in ids if token in ("67", "68", "69")] == ["67", "69", "68"]
    assert ran.err.startswith("mode    psm\n")


def test_explain_goes_into_the_json_when_both_are_asked_for(run, fakes, file, tokenizer):
    completer = fakes.ScriptedCompleter("return 42")
    completer.tokenizer = tokenizer
    ran = run("complete", "app.py:2:5", "--explain", "--json", "--mode", "spm", completer=completer)
    found = json.loads(ran.out)
    assert ran.err == ""
    assert found["mode"] == "spm"
    assert found["prompt"].startswith("<bos>app.py\n<|fim_suffix|>\nprint")
    assert found["prompt_tokens"][0] == 2
    assert (found["typed"], found["seam"]) == ("    ", "")


def test_a_seam_is_named_and_left_out_of_what_the_model_reads(run, fakes, file, tokenizer):
    file.write_text("x = return y\n")
    completer = fakes.ScriptedCompleter("")
    completer.tokenizer = tokenizer
    ran = run("complete", "app.py:1:8", "--explain", completer=completer)
    assert "\nseam    'urn', drawn at the end\n" in ran.err
    assert "<|fim_suffix|> y\n<|fim_middle|>" in ran.err


def test_a_file_longer_than_the_context_is_cut_around_the_cursor_and_said_so(
    run, fakes, file, tokenizer
):
    file.write_text("".join(f"value_{number} = {number}\n" for number in range(400)))
    completer = fakes.ScriptedCompleter("pass", context_length=256)
    completer.tokenizer = tokenizer
    ran = run("complete", "app.py:200:1", completer=completer)
    assert (ran.status, ran.out) == (0, "pass")
    (prompt,) = completer.prompts
    assert "value_198 = 198<|fim_suffix|>value_199 = 199" in visible(prompt.tokens, tokenizer)
    assert prompt.typed == "\n"
    left_out = f"left out {prompt.cut.prefix_chars} characters at its start"
    assert left_out in ran.err
    assert ran.err.count("\n") == 1


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A repository in which `app.py` imports `shop/money.py`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CODEGEMMA_CACHE", str(tmp_path / ".cache"))
    (tmp_path / "shop").mkdir()
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "shop" / "money.py").write_text("class Money:\n    amount = 0\n")
    (tmp_path / "app.py").write_text("from shop.money import Money\n\nMoney().\n")
    return tmp_path


def test_other_files_of_the_repository_are_shown_unless_told_not_to(run, fakes, shop):
    completer = fakes.ScriptedCompleter("amount")
    assert run("complete", "app.py:3:9", completer=completer) == (0, "amount", "")
    assert completer.prompts[0].context == (
        SourceFile(path="shop/money.py", text="class Money:\n    amount = 0\n"),
    )
    assert list((shop / ".cache" / "context").glob("*.json"))
    assert run("complete", "app.py:3:9", "--no-context", completer=completer).status == 0
    assert completer.prompts[1].context == ()


def test_explain_says_which_files_are_shown_and_why(run, fakes, shop, tokenizer):
    completer = fakes.ScriptedCompleter("amount")
    completer.tokenizer = tokenizer
    ran = run("complete", "app.py:3:9", "--explain", completer=completer)
    count = len(tokenizer.encode("shop/money.py\n")) + 1
    count += len(tokenizer.encode("class Money:\n    amount = 0\n"))
    assert f"context shop/money.py: {count} tokens, imported\n" in ran.err
    assert "<bos>shop/money.py\nclass Money:\n    amount = 0\n<|file_separator|>app.py" in ran.err
    ran = run("complete", "app.py:3:9", "--explain", "--json", completer=completer)
    assert json.loads(ran.out)["context"] == [
        {"path": "shop/money.py", "tokens": count, "reason": "imported", "is_whole": True}
    ]


def test_a_file_that_fills_the_context_leaves_no_room_for_others(run, fakes, shop, tokenizer):
    (shop / "app.py").write_text("from shop.money import Money\n" + "x = 1\n" * 200)
    completer = fakes.ScriptedCompleter("pass", context_length=256)
    completer.tokenizer = tokenizer
    assert run("complete", "app.py:100:1", completer=completer).status == 0
    assert completer.prompts[0].context == ()
    assert not (shop / ".cache").exists()


def test_text_that_is_no_file_of_a_repository_is_shown_alone(run, fakes, shop):
    completer = fakes.ScriptedCompleter("x")
    text = b"from shop.money import Money\n"
    assert run("complete", "-:1:1", completer=completer, stdin=text).status == 0
    assert run("complete", "app.py:1:1", "--path", "b.py", completer=completer).status == 0
    assert [prompt.context for prompt in completer.prompts] == [(), ()]
