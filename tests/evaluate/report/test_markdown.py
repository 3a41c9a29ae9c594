# SPDX-License-Identifier: Apache-2.0

import huggingface_hub

from codegemma.evaluate.report.card import ModelFacts
from codegemma.evaluate.report.markdown import render_markdown

FACTS = ModelFacts(
    name="tuned", licence="Apache-2.0", licence_title="Apache License 2.0", num_params=4_800_000
)


def test_the_hub_reads_the_results_of_the_card(write_run, make_report):
    path = write_run("one", [1.0, 0.0, 0.0, 0.0])
    write_run("one", [1.0, 0.0], task="other:thing", limit=2)

    text = render_markdown(make_report(path, facts=FACTS))

    data = huggingface_hub.ModelCard(text).data
    assert (data.model_name, data.license, data.pipeline_tag) == (
        *("tuned", "apache-2.0", "text-generation"),
    )
    first, second = data.eval_results
    assert (first.dataset_name, first.dataset_type) == ("HumanEval", "humaneval")
    assert (first.metric_type, first.metric_value) == ("pass@1", 0.25)
    assert first.metric_name == "pass@1, 95 % interval 5.0 to 45.0, n 4"
    assert second.dataset_type == "other:thing"
    assert second.metric_name.endswith("n 2, the first 2 problems alone")


def test_the_card_has_the_sections_of_the_published_one(write_run, make_report):
    text = render_markdown(make_report(write_run("one", [1.0]), write_run("two", [0.0])))

    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## Model information",
        "## Model data",
        "## Implementation information",
        "## Evaluation",
        "## Ethics and safety",
        "## Usage and limitations",
    ]
    assert "### Comparison" in text
    assert "2B, 2B 1.1, 7B, 7B-IT, 7B-IT 1.1: published, not run here." in text


def test_hostile_names_stay_text(write_run, make_report):
    hostile = "x\n---\n# </script><img src=x onerror=alert(1)> | \u202e[y](javascript:z)"
    path = write_run("one", [1.0], model_name=hostile)

    text = render_markdown(make_report(path))

    assert "<img" not in text
    assert text.count("\n---\n") == 1
    assert "\u202e" not in text
    assert "\n# </script>" not in text
    assert "](javascript" not in text.replace(r"\](javascript", "")
    assert huggingface_hub.ModelCard(text).data.eval_results[0].metric_value == 1.0
    tables = [line for line in text.splitlines() if line.startswith("| one")]
    assert {line.replace(r"\|", "").count("|") for line in tables[:1]} == {7}
