# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from codegemma.cli.output import as_json, end_line, visible, write_json, write_text
from codegemma.completion import Completion, TokenLogprob


def test_text_is_written_byte_for_byte(capfdbinary):
    write_text("a\r\nb\n\U0001f600")
    assert capfdbinary.readouterr().out == b"a\r\nb\n\xf0\x9f\x98\x80"


def test_no_line_end_is_added_for_a_program_that_reads(capfdbinary):
    end_line("x")
    assert capfdbinary.readouterr().out == b""


@pytest.mark.parametrize(("text", "added"), [("x", b"\n"), ("x\n", b""), ("", b"\n")])
def test_on_a_terminal_the_last_line_is_ended(capfdbinary, monkeypatch, text, added):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    end_line(text)
    assert capfdbinary.readouterr().out == added


def test_json_is_one_line_and_keeps_letters_readable(capfdbinary):
    write_json({"text": "é\n"})
    assert capfdbinary.readouterr().out == '{"text": "é\\n"}\n'.encode()


def test_a_completion_renders_with_its_log_probabilities():
    completion = Completion(
        text="x",
        tokens=(7,),
        finish_reason="stop",
        logprobs=(TokenLogprob(token=7, logprob=-0.5, top=((8, -1.0),)),),
        rule="suffix_overlap",
    )
    found = json.loads(json.dumps(as_json(completion)))
    assert found["logprobs"] == [{"token": 7, "logprob": -0.5, "top": [[8, -1.0]]}]
    assert found["rule"] == "suffix_overlap"


def test_control_tokens_of_a_prompt_are_spelled_out(fakes):
    tokens = [2, 67, 1097, 1195, 1169, 69, 68]
    assert (
        visible(tokens, fakes.ByteTokenizer())
        == "<bos><|fim_prefix|>aé<|fim_suffix|><|fim_middle|>"
    )
