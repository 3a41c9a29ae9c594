# SPDX-License-Identifier: Apache-2.0
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from codegemma.cli.serve import listen, prepare, warm
from codegemma.errors import ConfigError
from codegemma.generate.trimmed import Trimmed

SCRIPT = Path(__file__).with_name("scripted_command.py")


class Served:
    """`codegemma serve` as a process, and the address it printed."""

    def __init__(self, script, *words, **environment):
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), json.dumps(script), "serve", "--port", "0", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        self.line = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", self.line)
        assert found, self.line + self.process.stderr.read()
        self.url = found[0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


def test_the_address_is_printed_when_completions_can_be_had():
    with Served({"answer": "pass"}, "--model", "mine") as served:
        assert served.line.startswith(f"mine is served on {served.url} (this machine only;")
        answer = httpx.post(f"{served.url}/v1/completions", json={"prompt": "x", "suffix": ""})
        assert answer.json()["choices"][0]["text"] == "pass"
        assert "server" not in answer.headers


def test_an_interrupt_ends_with_130_and_no_traceback():
    with Served({}) as served:
        served.process.send_signal(signal.SIGINT)
        _, err = served.process.communicate(timeout=30)
        assert served.process.returncode == 130
        assert "Traceback" not in err


def test_sigterm_lets_a_running_stream_finish_and_ends_with_0():
    with Served({"answer": "x" * 40, "delay_s": 0.02}) as served:
        body = {"prompt": "a", "max_tokens": 40, "stream": True}
        with httpx.stream("POST", f"{served.url}/v1/completions", json=body) as answer:
            lines = answer.iter_lines()
            next(lines)
            served.process.send_signal(signal.SIGTERM)
            rest = list(lines)
        assert rest[-2] == "data: [DONE]"
        assert served.process.wait(30) == 0


def test_with_nobody_connected_sigterm_ends_at_once():
    with Served({}) as served:
        begin = time.monotonic()
        served.process.terminate()
        assert served.process.wait(30) == 0
        assert time.monotonic() - begin < 5


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_while_the_model_loads_ends_at_once(number, status):
    words = [json.dumps({"load_s": 60}), "serve", "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), *words], stderr=subprocess.PIPE, text=True
    )
    line = process.stderr.readline()
    url = re.search(r"http://\S+", line)[0]
    while httpx.get(f"{url}/health").json()["status"] != "loading":
        time.sleep(0.01)
    begin = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (status, "")
    assert time.monotonic() - begin < 5


def test_a_token_from_the_environment_is_asked_for():
    with Served({}, CODEGEMMA_TOKEN="s3cret") as served:
        assert "a token is needed" in served.line
        assert "s3cret" not in served.line
        url = f"{served.url}/v1/models"
        assert httpx.get(url).status_code == 401
        assert httpx.get(url, headers={"authorization": "Bearer s3cret"}).status_code == 200


def test_a_model_that_cannot_be_loaded_ends_the_command_with_one_line():
    words = [json.dumps({"error": "there is no model nope"}), "serve", "--port", "0"]
    ran = subprocess.run(
        [sys.executable, str(SCRIPT), *words], capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 2
    assert ran.stderr.splitlines()[-1] == "codegemma: there is no model nope"
    assert "Traceback" not in ran.stderr
    assert ran.stdout == ""


def test_a_port_in_use_is_told_in_one_line(run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ran = run("serve", "--port", str(port))
    assert ran.status == 2
    assert ran.err.startswith(f"codegemma: cannot listen on 127.0.0.1:{port}: address already in")
    assert ran.err.count("\n") == 1


def test_a_model_is_warmed_with_an_infill_and_once_more(fakes):
    completer = fakes.ScriptedCompleter("x" * 20)
    warm(completer)
    first, second = completer.prompts
    assert first == second
    assert len(first.tokens) == 300
    assert (first.tokens[:2], first.tokens[-2:]) == ((2, 67), (69, 68))
    assert completer.num_finished == 2


def test_an_engine_compiles_ahead_and_another_completer_does_nothing(fakes):
    completer = fakes.ScriptedCompleter("")
    assert list(prepare(completer)) == []
    completer.compile_ahead = lambda: iter(["decode of 1 x 1024"])
    assert list(prepare(Trimmed(completer))) == ["decode of 1 x 1024"]


def test_a_small_context_is_warmed_within_its_bounds(fakes):
    completer = fakes.ScriptedCompleter("x" * 20, context_length=128)
    warm(completer)
    assert len(completer.prompts[0].tokens) == 64


def test_the_warm_prompt_is_read_in_a_piece_of_each_length():
    code = (
        "from codegemma.generate.batch import PIECE_LENGTHS, piece_length\n"
        "from codegemma.cli.serve import WARM_TOKENS\n"
        "left, seen = WARM_TOKENS, []\n"
        "while left > 0: seen.append(piece_length(left)); left -= seen[-1]\n"
        "print(sorted(seen) == sorted(PIECE_LENGTHS))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "True\n"


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_listening_beyond_this_machine_without_a_token_is_refused(run, monkeypatch, host):
    monkeypatch.delenv("CODEGEMMA_TOKEN", raising=False)
    ran = run("serve", "--host", host, "--port", "0")
    assert ran.status == 2
    assert "CODEGEMMA_TOKEN or --token-file" in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("host", ["no-such-host.invalid", "203.0.113.7"])
def test_an_address_that_is_not_ours_is_refused(host):
    with pytest.raises(ConfigError, match=f"cannot listen on {host}"):
        listen(host, 0)


def test_a_bad_token_file_is_refused(run, tmp_path):
    ran = run("serve", "--token-file", str(tmp_path / "none"), "--port", "0")
    assert ran.status == 2
    assert "cannot read the token file" in ran.err


def test_files_of_a_repository_are_shown_beside_its_files(tmp_path):
    (tmp_path / "money.py").write_text("class Money: ...\n", encoding="utf-8")
    (tmp_path / "cart.py").write_text("from money import Money\n", encoding="utf-8")
    words = ("--repository", str(tmp_path))
    with Served({"answer": "pass"}, *words, CODEGEMMA_CACHE=str(tmp_path / ".cache")) as served:
        body = {"prompt": "from money import Money\n", "suffix": "", "path": "cart.py"}
        answer = httpx.post(f"{served.url}/v1/completions", json=body).json()
        assert answer["context"] == ["money.py"]
    assert list((tmp_path / ".cache" / "context").glob("*.json"))


def test_a_repository_that_is_no_folder_is_refused(run, tmp_path):
    ran = run("serve", "--repository", str(tmp_path / "none"), "--port", "0")
    assert ran.status == 2
    assert ran.err == f"codegemma: --repository takes a folder, and {tmp_path / 'none'} is none\n"
