# SPDX-License-Identifier: Apache-2.0
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from codegemma.cli.chat import interrupts
from codegemma.completion import Turn

SCRIPT = Path(__file__).with_name("scripted_command.py")


def chat(run, completer, said):
    return run("chat", completer=completer, stdin=said.encode())


@pytest.fixture
def completer(fakes):
    def answer(prompt, _):
        return f"{len(prompt.turns)}:{prompt.turns[-1].text}"

    return fakes.ScriptedCompleter(answer, is_instruction=True)


def test_a_conversation_is_remembered(run, completer):
    ran = chat(run, completer, "hello\nand now?\n/exit\nnever read\n")
    assert ran.status == 0
    assert "1:hello\n" in ran.out
    assert "3:and now?\n" in ran.out
    assert completer.prompts[1].turns == (
        Turn(role="user", text="hello"),
        Turn(role="model", text="1:hello"),
        Turn(role="user", text="and now?"),
    )
    assert len(completer.prompts) == 2


def test_reset_begins_anew(run, completer):
    ran = chat(run, completer, "one\n/reset\ntwo\n")
    assert ran.status == 0
    assert completer.prompts[1].turns == (Turn(role="user", text="two"),)


def test_explain_shows_every_prompt_with_its_ids(run, completer, tokenizer):
    completer.tokenizer = tokenizer
    ran = run("chat", "--explain", completer=completer, stdin=b"hello\nand now?\n")
    assert ran.status == 0
    first = "<bos><start_of_turn>user\nhello<end_of_turn>\n<start_of_turn>model\n"
    assert f"tokens, as the model reads it:\n{first}\nids     2 106 " in ran.err
    assert f"{first}1:hello<end_of_turn>\n<start_of_turn>user\nand now?<end_of_turn>" in ran.err
    assert ran.err.count("\ndrawn   ") == 2
    assert "3:and now?\n" in ran.out


def test_explain_needs_a_model_that_shows_its_tokens(run, completer):
    ran = run("chat", "--explain", completer=completer, stdin=b"hello\n")
    assert ran.status == 2
    assert "--explain needs a model in this process" in ran.err


def test_the_end_of_input_leaves(run, completer):
    assert chat(run, completer, "").status == 0
    assert completer.prompts == []


def test_blank_lines_and_help_ask_nothing(run, completer):
    ran = chat(run, completer, "\n   \n/help\n")
    assert "/reset begins anew" in ran.out
    assert completer.prompts == []


def test_a_message_may_have_several_lines(run, completer):
    chat(run, completer, "first\\\nsecond\nwhy?\n```py\nx = 1\n\ny = 2\n```\n")
    texts = [prompt.turns[-1].text for prompt in completer.prompts]
    assert texts == ["first\nsecond", "why?", "```py\nx = 1\n\ny = 2\n```"]


def test_a_message_cut_by_the_end_of_input_is_still_asked(run, completer):
    chat(run, completer, "```\nx = 1\n")
    assert [prompt.turns[-1].text for prompt in completer.prompts] == ["```\nx = 1"]


def test_a_model_without_instruction_is_refused_with_one_to_pull(run, fakes):
    ran = chat(run, fakes.ScriptedCompleter(name="nano"), "hello\n")
    assert ran.status == 2
    assert ran.err.startswith("codegemma: nano completes code and holds no conversations")
    assert "codegemma pull codegemma-1.1-7b-it" in ran.err
    assert ran.err.count("\n") == 1


def test_a_conversation_that_outgrows_the_context_says_how_to_go_on(run, fakes):
    completer = fakes.ScriptedCompleter("ok", is_instruction=True, context_length=1044)
    ran = chat(run, completer, f"{'x' * 50}\nhi\n")
    assert ran.status == 0
    assert "Begin anew with /reset" in ran.out
    assert completer.prompts[1].turns == (Turn(role="user", text="hi"),)


def test_an_answer_that_was_cut_says_so(run, fakes):
    completer = fakes.ScriptedCompleter("x" * 50, is_instruction=True)
    ran = run("chat", "--max-tokens", "5", completer=completer, stdin=b"hi\n")
    assert "xxxxx\n(cut at 5 tokens; see --max-tokens)\n" in ran.out


class Terminal:
    """`codegemma chat` in a terminal of its own."""

    def __init__(self, script):
        pty = pytest.importorskip("pty", reason="this system has no pseudo terminals")
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), json.dumps(script), "chat", "--model", "talker"],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.seen = ""

    def read_until(self, text, *, timeout_s=30.0):
        deadline = time.monotonic() + timeout_s
        while text not in self.seen:
            assert time.monotonic() < deadline, f"no {text!r} in {self.seen!r}"
            if select.select([self.master], [], [], 0.1)[0]:
                self.seen += os.read(self.master, 4096).decode()
        before, _, self.seen = self.seen.partition(text)
        return before

    def send(self, text):
        os.write(self.master, text.encode())

    def interrupt_until(self, text):
        """Send Ctrl-C until it is heeded: Python's `input` misses one just before it waits."""
        for _ in range(10):
            self.send("\x03")
            if select.select([self.master], [], [], 1.0)[0]:
                break
        self.read_until(text)

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.master)


def test_in_a_terminal_ctrl_c_cancels_the_answer_and_not_the_program():
    terminal = Terminal({"answer": "x" * 400, "delay_s": 0.05, "is_instruction": True})
    try:
        terminal.read_until("> ")
        terminal.send("hello\n")
        terminal.read_until("xxx")
        terminal.send("\x03")
        terminal.read_until("(cancelled)")
        terminal.read_until("> ")
        terminal.send("half a line")
        terminal.read_until("half a line")
        terminal.interrupt_until("> ")
        terminal.send("/exit\n")
        assert terminal.process.wait(30) == 0
    finally:
        terminal.close()


def test_in_a_terminal_ctrl_d_leaves():
    terminal = Terminal({"answer": "x", "is_instruction": True})
    try:
        assert "talker is ready" in terminal.read_until("> ")
        terminal.send("\x04")
        assert terminal.process.wait(30) == 0
    finally:
        terminal.close()


def test_a_second_interrupt_ends_an_answer_that_does_not_stop():
    cancel = threading.Event()

    def interrupt_twice():
        with interrupts(cancel):
            signal.raise_signal(signal.SIGINT)
            assert cancel.is_set()
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        interrupt_twice()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_server_with_an_instruction_model_holds_conversations(run, http):
    def answer(asked):
        said = [message["content"] for message in asked.body["messages"]]
        events = [
            {"choices": [{"delta": {"content": "/".join(said)}, "finish_reason": None}]},
            {"choices": [{"delta": {}, "finish_reason": "stop"}]},
        ]
        return http.Reply(events=tuple(events))

    script = http.ScriptedServer(answer)
    script.models = {"data": [{"id": "codegemma-7b-it", "owned_by": "vllm"}]}
    with http.serving(script):
        ran = run("chat", "--model", f"remote:{script.url}", stdin=b"one\ntwo\n")

    assert ran.status == 0, ran.err
    assert "one/one/two\n" in ran.out
    assert {asked.path for asked in script.drawn} == {"/v1/chat/completions"}
