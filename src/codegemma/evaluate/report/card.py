# SPDX-License-Identifier: Apache-2.0
"""A model card of runs, in the sections of the published one, with the metadata the hub reads.

The card is of the first run's model. What a run did not record, and nobody measured, is said to be
so; nothing is filled in.

Source: the CodeGemma model card, whose sections these are, and whose statements about data,
training and use are repeated, in other words, for the released models alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from codegemma.evaluate.report.compare import Pair
from codegemma.evaluate.report.document import Block, Bullets, Paragraph, Section, Table
from codegemma.evaluate.report.latency import latency
from codegemma.evaluate.report.measured import beside_published, comparison, results
from codegemma.evaluate.report.runs import Run
from codegemma.evaluate.report.seconds import Timing, seconds

_NOT_RECORDED: Final = "The model's files record nothing of it."
_GOOGLE_DATA: Final = (
    "As published, and not checked here: the pretrained models were trained further from Gemma, on "
    "500 to 1000 billion tokens of mainly English, of mathematics and of code, with 80 to 90 % of "
    "the code examples cut for infilling, half in prefix-suffix-middle order and half in "
    "suffix-prefix-middle, packed by repository along imports and unit tests. Personal data, abuse "
    "material and low quality were filtered."
)
_GOOGLE_HARDWARE: Final = "As published: TPUv5e, JAX and ML Pathways."
_INPUTS: Final = (
    "Input: a prefix of code and, optionally, a suffix and other files; or text.",
    "Output: the middle that fits between them, or text that goes on.",
)
_CHAT_INPUTS: Final = (
    "Input: text, or a conversation about code.",
    "Output: code and natural language.",
)
_LIMITS: Final = (
    "Figures hold for the benchmarks named, under the settings of each run, and no further.",
    "Benchmarks are public: a model may have seen their solutions in training.",
    "Completions may be wrong, insecure, or repeat text of the training data with its licence; "
    "whoever accepts one answers for it.",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFacts:
    """A model, as far as it is known on this machine; the command line finds it out.

    Args:
        name: Its name.
        summary: What it is for, in one line.
        repository: Of the hub; None for a model that is not from there.
        is_google: Whether it is one of the released Gemma or CodeGemma models as it was released.
        is_instruction: Whether it takes conversations.
        num_params: Number of its weights, None when unknown.
        licence: SPDX expression, or "gemma" for the Gemma Terms of Use; None when unknown.
        licence_title: Name of the licence.
        licence_url: Where it stands.
        training: How it came about, as `codegemma.json` has it.
        history: What was done to its files since, a sentence each.
    """

    name: str
    summary: str = ""
    repository: str | None = None
    is_google: bool = False
    is_instruction: bool = False
    num_params: int | None = None
    licence: str | None = None
    licence_title: str = ""
    licence_url: str = ""
    training: Mapping[str, Any] = field(default_factory=dict[str, Any])
    history: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """All that a report shows.

    Args:
        runs: The card is of the first one; the others are compared with it.
        facts: What is known of each run's model.
        pairs: Of `compare_runs`.
        timings: Of `seconds.read_timings`.
        made: Date of the report, in ISO form.
        version: Of this package.
    """

    runs: Sequence[Run]
    facts: Sequence[ModelFacts]
    pairs: Sequence[Pair]
    timings: Sequence[Timing]
    made: str
    version: str

    @property
    def title(self) -> str:
        """What the report is of."""
        return " and ".join(dict.fromkeys(facts.name for facts in self.facts))


def sections(report: Report) -> list[Section]:
    """Give the sections of the card, in the published order."""
    facts = report.facts[0]
    evaluation = [results(report.runs), beside_published(report.runs)]
    if report.pairs:
        evaluation.append(comparison(report.pairs))
    timed = seconds(report.runs, report.timings)
    evaluation += [section for section in (timed, latency(report.runs)) if section is not None]
    evaluation.append(_conditions(report.runs))
    return [
        Section(title="Model information", blocks=_information(report)),
        Section(title="Model data", blocks=_data(facts)),
        Section(title="Implementation information", blocks=_implementation(facts)),
        Section(title="Evaluation", sections=evaluation),
        Section(title="Ethics and safety", blocks=_safety(report.runs)),
        Section(title="Usage and limitations", blocks=_usage(facts)),
    ]


def _information(report: Report) -> list[Block]:
    facts, run = report.facts[0], report.runs[0]
    about = [
        facts.summary,
        f"{facts.num_params / 1e6:,.1f} million weights" if facts.num_params else "",
        f"{run.model_settings['context_length']} tokens of context"
        if "context_length" in run.model_settings
        else "",
    ]
    rows = [
        (
            each.label,
            each.model,
            str(each.model_settings.get("revision") or "not recorded"),
            str(each.model_settings.get("fingerprint") or "not recorded")[:16],
            str(each.model_settings.get("dtype") or "not recorded"),
            ", ".join(
                sorted({str(s.get("device")) for t in each.tasks.values() for s in t.sessions})
            ),
        )
        for each in report.runs
    ]
    head = ("run", "model", "revision", "sha256 of its manifest", "dtype", "device")
    licence = facts.licence_title or facts.licence
    return [
        Paragraph(text=f"{facts.name}: {'; '.join(part for part in about if part)}."),
        Bullets(items=_CHAT_INPUTS if facts.is_instruction else _INPUTS),
        Table(caption="What was run", head=head, rows=rows),
        Paragraph(text=f"Licence: {licence}.", url=facts.licence_url)
        if licence
        else Paragraph(text="Licence: the model's files state none."),
    ]


def _data(facts: ModelFacts) -> list[Block]:
    if facts.is_google:
        return [Paragraph(text=_GOOGLE_DATA)]
    return [_recorded(facts, "data", "The data it was trained on")]


def _implementation(facts: ModelFacts) -> list[Block]:
    if facts.is_google:
        return [Paragraph(text=_GOOGLE_HARDWARE)]
    blocks: list[Block] = [_recorded(facts, "run", "How it was trained")]
    if facts.history:
        blocks.append(Bullets(items=facts.history))
    return blocks


def _recorded(facts: ModelFacts, kind: str, caption: str) -> Block:
    """Lay out what a model's files say of its training: of the data, or of all else."""
    flat = {
        name: value
        for name, value in _flat(facts.training).items()
        if ("data" in name.split(".")) == (kind == "data")
    }
    if not flat:
        return Paragraph(text=_NOT_RECORDED)
    head = ("setting", "value")
    return Table(caption=caption, head=head, rows=list(flat.items()), is_detail=True)


def _conditions(runs: Sequence[Run]) -> Section:
    """Give what the figures rest on, task by task."""
    rows: list[tuple[str, ...]] = []
    for run in runs:
        for name, task in run.tasks.items():
            sampling = task.sampling
            drawn = (
                f"temperature {sampling.get('temperature')}, at most {sampling.get('max_tokens')} "
                f"tokens, order {sampling.get('mode')}, batch {task.batch}"
            )
            if task.scored_file is not None:
                drawn = f"made elsewhere: {task.scored_file.name}"
            last: Mapping[str, Any] = task.sessions[-1] if task.sessions else {}
            rows.append(
                (
                    f"{run.label}, {name}",
                    drawn,
                    ", ".join(f"{k} {v[:12]}" for k, v in task.data.items()),
                    ", ".join(f"{k} {v}" for k, v in task.scoring.items()),
                    f"{last.get('started', '?')}, commit {str(last.get('commit'))[:10]}",
                )
            )
    head = ("run", "drawing", "data (sha256)", "programs run with", "last session")
    return Section(
        title="What the figures rest on",
        blocks=[Table(caption="Settings and versions", head=head, rows=rows)],
    )


def _safety(runs: Sequence[Run]) -> list[Block]:
    measured = [name for run in runs for name in run.tasks if name.startswith("memor")]
    blocks: list[Block] = []
    if measured:
        blocks.append(
            Paragraph(text=f"Memorisation was measured: see {', '.join(measured)} above.")
        )
    else:
        blocks.append(Paragraph(text="Memorisation was not measured in these runs."))
    blocks.append(
        Paragraph(
            text="Content safety, representational harms, cyber-attack capability and red teaming "
            "were not evaluated here. Google's card calls its results on them acceptable and gives "
            "no numbers."
        )
    )
    return blocks


def _usage(facts: ModelFacts) -> list[Block]:
    use = "Completion in an editor, and generation from a prompt."
    if facts.is_instruction:
        use = "Conversation about code, generation, and learning to program."
    return [Paragraph(text=f"Intended use. {use}"), Bullets(items=_LIMITS)]


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, item in value.items():
        if isinstance(item, dict):
            flat |= _flat(cast("dict[str, Any]", item), f"{prefix}{name}.")
        elif isinstance(item, list):
            flat[prefix + name] = ", ".join(map(str, cast("list[Any]", item)))
        else:
            flat[prefix + name] = str(item)
    return flat
