# SPDX-License-Identifier: Apache-2.0
"""lm-evaluation-harness and this project: its tasks as our problems, our completers as its models.

Prompts, choices, stop strings, answer extraction and metrics are the harness's own, read from the
task files it comes with; rows are given to it, so that it loads nothing. `open_model` lets the
harness's own evaluator, and with it any of its tasks, run on a completer of ours.

lm_eval is imported when something is asked for, never before.

Differs: a prompt that is too long loses its start as there, but keeps its `<bos>`, without which a
Gemma model writes nonsense.
"""

import importlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from codegemma.completion import Completer, Prompt, Sampling
from codegemma.errors import PrerequisiteError
from codegemma.text.budget import keep_tail

PACKAGE: Final = "lm_eval"
MAX_TOKENS: Final = 256
"""Most tokens of an answer where a task names no number, as in the harness."""

SHOT_SEED: Final = 1234
"""Of examples drawn for a prompt, as in the harness."""

_INSTALL: Final = "pip install 'codegemma[evaluate]'"


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What one row asks of a model: one text, or the likelihoods of several choices.

    Args:
        context: The prompt; "" where there are choices.
        pairs: Context and continuation of each choice, none where a text is asked for.
        stops: Strings that end the text.
        max_tokens: Its most tokens.
    """

    context: str
    pairs: tuple[tuple[str, str], ...]
    stops: tuple[str, ...]
    max_tokens: int


class HarnessTask:
    """A task of the harness over rows that are given.

    Args:
        file: Its YAML file below the harness's folder of tasks, such as "piqa/piqa".
        rows: The rows to be answered, with the columns that the task reads.
        shots: Rows to take examples from; None: the task's own fixed ones, if it has any.
        num_shots: Examples in front of each question.

    Raises:
        PrerequisiteError: The harness or what the task needs besides it is not installed.
    """

    def __init__(
        self,
        file: str,
        rows: Sequence[Mapping[str, Any]],
        *,
        shots: Sequence[Mapping[str, Any]] | None = None,
        num_shots: int = 0,
    ) -> None:
        self._task: Any = _open_task(file, rows, shots=shots, num_shots=num_shots)
        self.docs: list[dict[str, Any]] = [dict(doc) for doc in self._task.eval_docs]

    def requests(self) -> list[Request]:
        """Give what each row asks, in order; examples that are drawn are drawn anew."""
        self._task.set_fewshot_seed(SHOT_SEED)
        return [self._request(doc) for doc in self.docs]

    def score(self, variant: str, doc: Mapping[str, Any], results: Sequence[Any]) -> float:
        """Give the value of an answer.

        Args:
            variant: One of `variants`.
            doc: One of `docs`.
            results: The drawn text alone, or the log likelihood of each choice and whether it is
                the greedy one.
        """
        metrics = list(self._task._metric_fn_list)
        metric = variant if variant in metrics else metrics[0]
        answers: list[Any] = list(results)
        if self._task.OUTPUT_TYPE == "generate_until":
            made = _import("lm_eval.api.instance").Instance
            instance = made(request_type="generate_until", doc=dict(doc), arguments=(), idx=0)
            instance.resps = answers
            filters = {each.name: each for each in self._task._filters}
            chosen = filters.get(variant, self._task._filters[0])
            chosen.apply([instance])
            answers = [instance.filtered_resps[chosen.name]]
        return float(self._task.process_results(dict(doc), answers)[metric])

    def variants(self) -> list[str]:
        """Name the ways in which an answer is scored: the task's filters, or its metrics."""
        filters = [each.name for each in self._task._filters]
        return filters if len(filters) > 1 else list(self._task._metric_fn_list)

    def _request(self, doc: dict[str, Any]) -> Request:
        task = self._task
        context = task.fewshot_context(
            doc, num_fewshot=task.config.num_fewshot or 0, gen_prefix=task.doc_to_prefix(doc)
        )
        made = task.construct_requests(doc=doc, ctx=context, metadata=(task.config.task, 0, 1))
        if task.OUTPUT_TYPE == "multiple_choice":
            pairs = tuple((str(each.args[0]), str(each.args[1])) for each in made)
            return Request(context="", pairs=pairs, stops=(), max_tokens=1)
        text, settings = made.args
        stops, max_tokens = _ends(settings)
        return Request(context=text, pairs=(), stops=stops, max_tokens=max_tokens)


def open_model(completer: Completer, *, batch: int = 16) -> Any:
    """Make a completer a model of the harness, for `lm_eval.simple_evaluate(model=...)`.

    Every request is a text of its own after one `<bos>`. With `batch=1` each is answered by
    itself, so that no answer depends on what else is asked.

    Args:
        completer: What answers; one that refuses likelihoods can answer `generate_until` alone.
        batch: Requests given to it together.

    Raises:
        PrerequisiteError: The harness is not installed.
    """
    lm: Any = _import("lm_eval.api.model").LM

    class CompleterModel(lm):
        """A model of the harness that asks a completer."""

        def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
            """Measure continuations given contexts."""
            return _measure(completer, [request.args for request in requests], batch=batch)

        def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
            """Measure whole texts, in windows where they are longer than the context."""
            sums: list[float] = []
            for request in requests:
                windows = cut_windows(request.args[0], completer)
                sums.append(sum(found for found, _ in _measure(completer, windows, batch=batch)))
            return sums

        def generate_until(self, requests: Sequence[Any]) -> list[str]:
            """Write on from contexts, each up to its stop strings."""
            groups: dict[Sampling, list[int]] = {}
            for index, request in enumerate(requests):
                groups.setdefault(_sampling(request.args[1]), []).append(index)
            texts: dict[int, str] = {}
            for sampling, indices in groups.items():
                for start in range(0, len(indices), batch):
                    chunk = indices[start : start + batch]
                    prompts = [
                        keep_tail(
                            Prompt(prefix=requests[index].args[0]),
                            sampling,
                            tokenizer=completer.tokenizer,
                            info=completer.info,
                        )
                        for index in chunk
                    ]
                    drawn = completer.complete(prompts, sampling)
                    texts |= {index: each[0].text for index, each in zip(chunk, drawn, strict=True)}
            return [texts[index] for index in range(len(requests))]

    return CompleterModel()


def cut_windows(text: str, completer: Completer) -> list[tuple[str, str]]:
    """Cut a text into pairs of context and continuation that cover it and fit the model's context.

    Every token is measured once. The first window follows nothing, each other the last character
    of the one before it, as in the harness the last token; windows end where a character does.
    """
    room = completer.info.context_length - 8  # <bos>, and a character before the window
    tokens = completer.tokenizer.encode(text)
    windows: list[tuple[str, str]] = []
    start = 0
    while start < len(text) or not windows:
        taken = completer.tokenizer.decode(tokens[:room])
        while not text.startswith(taken, start):  # cut within a character
            taken = taken[:-1]
        windows.append((text[start - 1 : start] if start else "", taken))
        start += len(taken)
        tokens = completer.tokenizer.encode(text[start:])
    return windows


def _measure(
    completer: Completer, pairs: Sequence[tuple[str, str]], *, batch: int
) -> list[tuple[float, bool]]:
    found: list[tuple[float, bool]] = []
    for start in range(0, len(pairs), batch):
        scored = completer.loglikelihood(pairs[start : start + batch])
        found += [(each.logprob, each.is_greedy) for each in scored]
    return found


def _sampling(settings: Mapping[str, Any]) -> Sampling:
    stops, max_tokens = _ends(settings)
    is_drawn = bool(settings.get("do_sample", False))
    temperature = float(settings.get("temperature", 0.0)) if is_drawn else 0.0
    return Sampling(
        max_tokens=max_tokens,
        stop=stops,
        temperature=temperature,
        top_p=settings.get("top_p"),
        seed=0,
    )


def _ends(settings: Mapping[str, Any]) -> tuple[tuple[str, ...], int]:
    """Give where an answer ends: stop strings and most tokens."""
    until = settings.get("until") or ()
    stops = (until,) if isinstance(until, str) else tuple(until)
    names = ("max_gen_toks", "max_new_tokens", "max_tokens")
    given = [settings[name] for name in names if settings.get(name)]
    return tuple(stop for stop in stops if stop), int(given[0] if given else MAX_TOKENS)


def _open_task(
    file: str,
    rows: Sequence[Mapping[str, Any]],
    *,
    shots: Sequence[Mapping[str, Any]] | None,
    num_shots: int,
) -> Any:
    """Make the harness's task, its rows given instead of loaded."""
    loader, task = _import("lm_eval.tasks._yaml_loader"), _import("lm_eval.api.task")
    datasets = _import("datasets")
    logging.getLogger(PACKAGE).setLevel(logging.ERROR)  # its warnings are about its own files
    environment = _import("lm_eval.utils").env
    if not hasattr(environment.from_string, "cache_info"):
        # The harness compiles its templates again for every row: most of its time, by far.
        environment.from_string = cache(environment.from_string)
    folder = Path(_import("lm_eval.tasks").__file__).parent
    try:
        config = loader.load_yaml(folder / f"{file}.yaml")
    except (ImportError, AssertionError) as error:
        raise PrerequisiteError(
            f"the task {file} of lm_eval needs more packages: {error}; pip install "
            "'lm-eval[math]', whose antlr4-python3-runtime is of version 4.11"
        ) from error
    for name in ("tag", "group", "task_list"):
        config.pop(name, None)
    datasets.disable_progress_bars()
    # Which examples are drawn depends on whether they come from a split of their own name.
    source = "fewshot_split" if config.get("fewshot_split") else "training_split"
    is_test = bool(config.get("test_split"))
    config |= {"fewshot_split": None, "training_split": None, "num_fewshot": num_shots}
    config |= {"test_split": "rows" if is_test else None}
    config |= {"validation_split": None if is_test else "rows"}
    data = {"rows": datasets.Dataset.from_list([dict(row) for row in rows])}
    if shots is not None:
        data["shots"] = datasets.Dataset.from_list([dict(row) for row in shots])
        config[source] = "shots"

    class Given(task.ConfigurableTask):
        """A task whose rows are there."""

        def download(self, *_: Any, **__: Any) -> None:
            """Take the rows that were given."""
            self.dataset = data

    return Given(config=config)


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise PrerequisiteError(
            f"language and maths tasks need the package lm-eval: {_INSTALL} ({error})"
        ) from error
