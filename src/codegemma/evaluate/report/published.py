# SPDX-License-Identifier: Apache-2.0
"""What Google published of the CodeGemma models, figure by figure, with denominators and sources.

Figures are per cent of problems passed, one sample a problem. Where card and paper disagree, the
card's stands first and the paper's beside it. Nothing here was measured by this project.

Source: the CodeGemma model card; "CodeGemma: Open Code Models Based on Gemma", arXiv 2406.11409,
tables 2 to 5. Denominators: every published figure is a whole number of problems out of n.
"""

from dataclasses import dataclass
from typing import Final

MODELS: Final = (
    "codegemma-2b",
    "codegemma-1.1-2b",
    "codegemma-7b",
    "codegemma-7b-it",
    "codegemma-1.1-7b-it",
)
"""Names of the models, in the order of the published columns."""

TITLES: Final = ("2B", "2B 1.1", "7B", "7B-IT", "7B-IT 1.1")
"""Headings of those columns."""

CARD: Final = "card"
TIME_CONDITIONS: Final = (
    "HF Transformers, bfloat16, batch 1, one L4 GPU, continuations of at most 128 tokens"
)
"""Under which the published seconds were measured."""

SOURCE_HASHES: Final = {
    "human-eval/HumanEval.jsonl.gz": (
        "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef",  # as openai keeps it
        "1d49078ba3e2b196b9344535bef34a43021f038fad9561d6ee7c53450609a6a2",
    ),
    "mbpp/mbpp.jsonl.gz": (
        "29845b0dc86965fbbab7505194f48ab10913fb473fe1c8283672002d2cd7ee94",
        "ccf64ceae9c5403bf50a044cb6d505bfd2a2963ee58338ba268fd65beab92a9f",  # as Google keeps it
    ),
}
"""SHA-256 of the data of rows whose protocol is known, packed and plain, by file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """A row of the published tables.

    Args:
        task: The task here that measures the same.
        title: As the card calls it.
        n: Problems, the denominator of every figure of the row.
        source: Where the figures stand.
        percents: In the order of `MODELS`; None where none was published.
        paper_percents: The paper's, where it gives others or more digits; empty otherwise.
        seconds: To complete all n problems, under `TIME_CONDITIONS`; empty where not published.
        is_protocol_known: Whether the sources say enough of prompt and sampling to measure the
            same of a pretrained model.
        unstated: What they do not say.
    """

    task: str
    title: str
    n: int
    source: str
    percents: tuple[float | None, ...]
    paper_percents: tuple[float, ...] = ()
    seconds: tuple[int, ...] = ()
    is_protocol_known: bool = False
    unstated: str = ""

    @property
    def is_published(self) -> bool:
        """Whether there is a figure at all."""
        return any(percent is not None for percent in self.percents)


_NONE: Final = (None,) * len(MODELS)
_LANGUAGES: Final = (
    ("cpp", "C++", (24.2, 19.9, 32.9, 42.2, 46.6), (47.1, 38.9, 53.8, 56.7, 63.5)),
    ("csharp", "C#", (10.6, 26.1, 22.4, 26.7, 54.7), (28.7, 45.3, 32.5, 41.2, 62.0)),
    ("go", "Go", (20.5, 18.0, 21.7, 28.6, 34.2), (45.6, 38.9, 43.3, 46.2, 53.2)),
    ("java", "Java", (29.2, 29.8, 41.0, 48.4, 50.3), (41.8, 49.7, 50.3, 57.3, 62.9)),
    ("javascript", "JavaScript", (21.7, 28.0, 39.8, 46.0, 48.4), (45.3, 45.0, 58.2, 61.4, 61.4)),
    ("kotlin", "Kotlin", (28.0, 32.3, 39.8, 51.6, 47.8), (46.8, 49.7, 54.7, 59.9, 62.6)),
    ("python", "Python", (21.7, 36.6, 42.2, 48.4, 54.0), (38.6, 52.9, 59.1, 62.0, 60.2)),
    ("rust", "Rust", (26.7, 24.2, 34.1, 36.0, 37.3), (45.3, 47.4, 52.9, 53.5, 52.3)),
)
_BABELCODE: Final = "the prompts and where completions were cut"
_PICTURE: Final = "every figure: card and paper show a picture only"

BENCHMARKS: Final = (
    Benchmark(
        task="humaneval",
        title="HumanEval",
        n=164,
        source=f"{CARD}; paper, table 3",
        percents=(31.1, 37.8, 44.5, 56.1, 60.4),
        is_protocol_known=True,
        unstated="where completions were cut; the instruction models' prompt",
    ),
    Benchmark(
        task="mbpp",
        title="MBPP",
        n=500,
        source=f"{CARD}; paper, table 3",
        percents=(43.6, 49.2, 56.2, 54.2, 55.6),
        paper_percents=(43.6, 49.2, 56.2, 54.2, 55.2),
        is_protocol_known=True,
        unstated="the words of the prompt (three examples, as Gemma's report says)",
    ),
    Benchmark(
        task="humaneval-infilling-single",
        title="HumanEval Single Line",
        n=1033,
        source=f"{CARD}; paper, table 2",
        percents=(78.4, 79.3, 76.1, 68.3, 77.4),
        paper_percents=(78.41, 79.28, 76.09, 68.25, 77.44),
        seconds=(543, 771, 1505, 8330, 7579),
        is_protocol_known=True,
        unstated="the order of the prompt, and whether lines were cut at their end",
    ),
    Benchmark(
        task="humaneval-infilling-multi",
        title="HumanEval Multi Line",
        n=5815,
        source=f"{CARD}; paper, table 2",
        percents=(51.4, 51.0, 58.4, 20.1, 23.7),
        paper_percents=(51.44, 50.99, 58.44, 20.05, 23.66),
        seconds=(8479, 9372, 22896, 49438, 46888),
        is_protocol_known=True,
        unstated="the order of the prompt",
    ),
    *(
        Benchmark(
            task=f"bc-humaneval:{key}",
            title=f"BC HE {name}",
            n=161,
            source=f"{CARD}; paper, table 4",
            percents=percents,
            unstated=_BABELCODE,
        )
        for key, name, percents, _ in _LANGUAGES
    ),
    *(
        Benchmark(
            task=f"bc-mbpp:{key}",
            title=f"BC MBPP {name}",
            n=342,
            source=f"{CARD}; paper, table 4",
            percents=percents,
            unstated=_BABELCODE,
        )
        for key, name, _, percents in _LANGUAGES
    ),
    Benchmark(
        task="gsm8k",
        title="GSM8K",
        n=1319,
        source="paper, table 5",
        percents=(None, None, 44.2, 41.2, 47.3),
        unstated="the examples of the prompt; the order of the table's rows is inferred",
    ),
    Benchmark(
        task="math",
        title="MATH",
        n=5000,
        source="paper, table 5",
        percents=(None, None, 19.9, 20.9, 22.3),
        unstated="the examples of the prompt; the order of the table's rows is inferred",
    ),
    *(
        Benchmark(task=task, title=title, n=n, source=CARD, percents=_NONE, unstated=_PICTURE)
        for task, title, n in (
            ("boolq", "BoolQ", 3270),
            ("piqa", "PIQA", 1838),
            ("triviaqa", "TriviaQA", 17_944),
            ("arc-challenge", "ARC-Challenge", 1172),
            ("hellaswag", "HellaSwag", 10_042),
            ("mmlu", "MMLU", 14_042),
            ("winogrande", "WinoGrande", 1267),
        )
    ),
)


def find_benchmark(task: str) -> Benchmark | None:
    """Return the published row of a task, None where Google published none."""
    return next((row for row in BENCHMARKS if row.task == task), None)
