# SPDX-License-Identifier: Apache-2.0
"""Proves a checkpoint: that it is whole, reads text as its family does, and fills in middles.

A folder whose files are damaged is refused by loading it. What loads may still be wrong: a norm
stored as 1 + w, queries and keys in another layout, sentinel rows exchanged, a layer missing. So
the model is held to what it should know: the middles of bundled files (`middles.py`). A model
that recorded its negative log likelihood when it was made must give it again; any other must
give middles a higher likelihood with its sentinels in place than with any exchange of them.

A passed verification is recorded with the infill order the model is best at, and loading the
model uses it. Nothing is recorded of a model that fails.
"""

import dataclasses
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from codegemma.completion import Mode, Prompt, Sampling
from codegemma.errors import ConfigError
from codegemma.generate.engine import Engine
from codegemma.generate.load import SMALL_MODEL_PARAMS, load_engine
from codegemma.generate.middles import (
    MODES,
    Middle,
    exchanges,
    measure_middles,
    measure_texts,
    paired_t,
    read_middles,
    read_texts,
)
from codegemma.generate.record import Record, write_record
from codegemma.kernels.formats import WeightFormat
from codegemma.model import config as configs
from codegemma.model.config import RELEASED_VOCAB_SIZE, ModelConfig
from codegemma.model.folder import cache_folder
from codegemma.model.hub import find_model, resolve
from codegemma.model.manifest import fingerprint
from codegemma.model.metadata import Metadata, read_metadata
from codegemma.model.params import num_params
from codegemma.model.stored import open_checkpoint
from codegemma.text.fim import InfillMode
from codegemma.text.tokenizer import Tokenizer

_log = logging.getLogger(__name__)

RECORD_KEY: Final = "middle_nll"
"""Key in a model's training metadata of its own negative log likelihoods, by infill order."""

RECORD_TOLERANCE: Final[Mapping[str | None, float]] = {None: 0.002, "int8": 0.004, "int4": 0.03}
"""How far, as a fraction, a recorded value may be missed, by the format of quantised weights.

Other devices and dtypes round apart. A folder keeps the record when its weights are rounded, which
costs nano 0.04 % in int8 and 1.8 % in int4 on held-out code (`benchmarks/bench_formats.py`).
"""

LEAST_T: Final = 2.602
"""Student's t that a paired difference over the 16 middles must reach: 99 %, one-sided."""

MAX_TEXT_NLL: Final = 1.5
"""Most nats per byte of the bundled files for a base model.

The tests hold nano to it, left to right: sound it is just below, and a norm stored as 1 + w,
another layout of queries and keys, or a layer missing lifts it above. A model of billions of
weights is far below when sound, so the bound finds layers that do not work, not one layer of 18
that is missing, which the number of parameters tells.

Unstated: there is no published value.
"""

_NUM_SHOWN: Final = 3
_SHOWN_TOKENS: Final = 48

RELEASED_ENCODINGS: Final = {
    "This is a test": (1596, 603, 476, 2121),
    "Hi  Hello": (2151, 139, 4521),
    "Hi   Hello": (2151, 140, 4521),
    " ": (235248,),
    "  ": (139,),
    " Hello": (25957,),
    "<s>": (204,),
    "A sample test": (235280, 6453, 2121),
    "\u751f\u6d3b\u7684\u771f\u8c1b\u662f": (122182, 235710, 245467, 235427),
    "The quick brown fox jumps over the lazy dog.": (
        *(651, 4320, 8426, 25341, 36271),
        *(1163, 573, 27894, 5929, 235265),
    ),
}
"""What the released vocabulary makes of texts, by the published tests of transformers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing that was looked at.

    Args:
        name: What.
        is_passed: Whether it is as it should be.
        detail: What was found, and what was expected where that failed.
    """

    name: str
    is_passed: bool
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A greedy completion of a bundled file, for a person to look at."""

    path: str
    expected: str
    drawn: str
    is_ended: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """The outcome of a verification.

    Args:
        model: Name as the user gave it.
        fingerprint: sha256 of its manifest, or of one made where there is none.
        checks: What was looked at, in order.
        mode: Infill order it is best at.
        nll: Mean negative log likelihood of a middle, nats per byte, by order; "exchanged" is
            the best of those with exchanged sentinels, absent where a record was at hand.
        shown: A few greedy completions.
        record: File the outcome was recorded in, None when it failed or could not be written.
    """

    model: str
    fingerprint: str
    checks: tuple[Check, ...]
    mode: Mode
    nll: dict[str, float]
    shown: tuple[Shown, ...]
    record: str | None = None

    @property
    def is_passed(self) -> bool:
        """Whether every check passed."""
        return all(check.is_passed for check in self.checks)

    @property
    def raw(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {"is_passed": self.is_passed, **dataclasses.asdict(self)}


def verify(
    name_or_path: str | Path,
    *,
    dtype: Any = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Verify a model and record the outcome if it passed.

    Args:
        name_or_path: Name of a model, or its folder.
        dtype: As for `load_completer`.
        progress: Told in a few words what begins.

    Raises:
        CodegemmaError: There is no such model, or its files are refused.
    """
    folder = resolve(name_or_path)
    metadata = read_metadata(folder) if folder.is_dir() else open_checkpoint(folder).metadata
    progress("loading the model")
    engine = load_engine(name_or_path, dtype=dtype)
    report = examine(engine, metadata, fingerprint=fingerprint(folder), progress=progress)
    if not report.is_passed:
        return report
    record = Record(fingerprint=report.fingerprint, mode=report.mode, nll=report.nll)
    try:
        return dataclasses.replace(report, record=str(write_record(record)))
    except OSError as error:
        _log.warning("the outcome cannot be recorded in %s: %s", cache_folder(), error.strerror)
        return report


def examine(
    engine: Engine,
    metadata: Metadata,
    *,
    fingerprint: str,
    progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Look at a loaded model; `verify` without its files."""
    checks = [
        check_parameters(engine.config, metadata.name),
        check_tokenizer(engine.tokenizer, metadata.name),
    ]
    known = find_model(metadata.name)
    if known is not None and known.repository is not None and known.mode is None:
        progress("scoring files")
        checks.append(check_text(engine))
        mode, nll, shown = "psm", {}, ()
    else:
        middles = read_middles()
        check, mode, nll = check_middles(engine, metadata, middles, progress=progress)
        progress("completing")
        shown = tuple(_show(engine, middles, mode))
        checks.append(check)
        # A small model of one language need not end in another one; its record tells more.
        if RECORD_KEY not in metadata.training:
            checks.append(_check_ends(shown))
    return Report(
        model=engine.info.name,
        fingerprint=fingerprint,
        checks=tuple(checks),
        mode=mode,
        nll=nll,
        shown=shown,
    )


def check_parameters(config: ModelConfig, name: str) -> Check:
    """Compare the sizes with those of the model's name, or of the released model they resemble."""
    count = num_params(config)
    expected = _named(name, config) or _resembled(config)
    if expected is None:
        detail = f"{count:,}; no published figure for {name}"
        return Check(name="parameters", is_passed=True, detail=detail)
    published = num_params(expected)
    is_passed = count == published
    detail = f"{count:,}" if is_passed else f"{count:,}, expected {published:,} of {expected.name}"
    if not is_passed and config.num_layers != expected.num_layers:
        detail += f": {config.num_layers} layers, expected {expected.num_layers}"
    return Check(name="parameters", is_passed=is_passed, detail=detail)


def check_tokenizer(tokenizer: Tokenizer, name: str) -> Check:
    """Compare a vocabulary of the released size with published encodings.

    A released model must have one. Ids of control tokens, and that text survives, were checked
    when it was loaded.
    """
    if tokenizer.vocab_size != RELEASED_VOCAB_SIZE:
        detail = f"{tokenizer.vocab_size} pieces, control tokens at Gemma's ids"
        is_released = _is_released(name)
        if is_released:
            detail = f"{tokenizer.vocab_size} pieces, expected {RELEASED_VOCAB_SIZE} of {name}"
        return Check(name="tokenizer", is_passed=not is_released, detail=detail)
    for text, expected in RELEASED_ENCODINGS.items():
        found = tuple(tokenizer.encode(text))
        if found != expected:
            detail = f"{text!r} became {found}, expected {expected}"
            return Check(name="tokenizer", is_passed=False, detail=detail)
    detail = f"{len(RELEASED_ENCODINGS)} published encodings"
    return Check(name="tokenizer", is_passed=True, detail=detail)


def check_text(engine: Engine) -> Check:
    """Hold a model that was not trained to infill to how well it knows whole files."""
    nll = float(measure_texts(engine, read_texts()).mean())
    detail = (
        f"{nll:.4f} nats per byte, expected at most {MAX_TEXT_NLL}; a base model, not trained to "
        "infill"
    )
    return Check(name="text", is_passed=nll <= MAX_TEXT_NLL, detail=detail)


def check_middles(
    engine: Engine,
    metadata: Metadata,
    middles: Sequence[Middle],
    *,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[Check, InfillMode, dict[str, float]]:
    """Hold the middles to the model's own record, or to exchanged sentinels where it has none.

    Returns:
        The check, the order the model is best at, and the mean of each order, nats per byte.
    """
    scores: dict[InfillMode, np.ndarray] = {}
    for mode in MODES:
        progress(f"scoring {len(middles)} middles in the order {mode}")
        scores[mode] = measure_middles(engine, middles, mode=mode)
    nll: dict[str, float] = {mode: float(score.mean()) for mode, score in scores.items()}
    recorded = metadata.training.get(RECORD_KEY)
    if recorded is not None:
        check = check_record(nll, recorded, weights=metadata.weights)
    else:
        is_small = num_params(engine.config) < SMALL_MODEL_PARAMS and bool(metadata.training)
        check, nll["exchanged"] = _check_sentinels(
            engine, middles, scores, is_proof_needed=not is_small, progress=progress
        )
    return check, best_mode(scores, declared=metadata.mode or "psm"), nll


def check_record(
    nll: dict[str, float], recorded: Any, *, weights: WeightFormat | None = None
) -> Check:
    """Compare the likelihoods of middles with those the model recorded when it was made."""
    if not isinstance(recorded, dict) or not all(
        isinstance(recorded.get(mode), float | int) and math.isfinite(recorded[mode])
        for mode in MODES
    ):
        raise ConfigError(
            f"codegemma.json: expected {RECORD_KEY} to give a finite number for "
            f"{', '.join(MODES)}, found {recorded!r}"
        )
    tolerance = RECORD_TOLERANCE[weights]
    # Not the other way round: a NaN is within no tolerance, and beyond none.
    missed = [
        mode
        for mode in MODES
        if not abs(nll[mode] - recorded[mode]) <= tolerance * abs(recorded[mode])
    ]
    shown = ", ".join(f"{mode} {nll[mode]:.4f}" for mode in MODES)
    detail = f"{shown} nats per byte, as recorded"
    if weights:
        detail += f" before its weights were rounded to {weights}"
    if missed:
        wanted = ", ".join(f"{mode} {recorded[mode]:.4f}" for mode in MODES)
        detail = f"{shown} nats per byte, recorded {wanted}"
    return Check(name="middles", is_passed=not missed, detail=detail)


def best_mode(scores: dict[InfillMode, np.ndarray], *, declared: Mode) -> InfillMode:
    """Take the declared order unless another one is better beyond chance, then the best one."""
    assert declared != "auto"
    mode = min(MODES, key=lambda mode: float(scores[mode].mean()))
    return mode if paired_t(scores[mode], scores[declared]) >= LEAST_T else declared


def _check_sentinels(
    engine: Engine,
    middles: Sequence[Middle],
    scores: dict[InfillMode, np.ndarray],
    *,
    is_proof_needed: bool,
    progress: Callable[[str], None],
) -> tuple[Check, float]:
    """Compare each order with its sentinels exchanged; one order that is better is enough.

    Better beyond chance is a proof. Where none is needed, better at all is let pass and said to
    prove little: a small model of one language shows on 16 middles only weakly what it knows.
    """
    details: list[str] = []
    best, is_below = float("inf"), False
    for mode in ("psm", "spm"):
        progress(f"scoring the order {mode} with sentinels exchanged")
        wrong = [
            measure_middles(engine, middles, mode=mode, exchange=exchange)
            for exchange in exchanges()
        ]
        lowest = min(wrong, key=lambda score: float(score.mean()))
        best = min(best, float(lowest.mean()))
        t = min(paired_t(scores[mode], score) for score in wrong)
        is_below |= bool(scores[mode].mean() < lowest.mean())
        details.append(
            f"{mode} {scores[mode].mean():.4f} nats per byte, with sentinels exchanged at best "
            f"{lowest.mean():.4f} (t {t:.1f})"
        )
        if t >= LEAST_T:
            return Check(name="middles", is_passed=True, detail=details[-1]), best
    is_passed = is_below and not is_proof_needed
    meaning = (
        f"better than exchanged, but not beyond chance (t below {LEAST_T}), which proves little"
        if is_passed
        else f"expected t of {LEAST_T} or more: its sentinels mean nothing"
    )
    detail = f"{'; '.join(details)}; {meaning}"
    return Check(name="middles", is_passed=is_passed, detail=detail), best


def _check_ends(shown: Sequence[Shown]) -> Check:
    num_ended = sum(one.is_ended for one in shown)
    detail = (
        f"{num_ended} of {len(shown)} ended by themselves within {_SHOWN_TOKENS} tokens, expected "
        "at least 1"
    )
    return Check(name="completions", is_passed=num_ended >= 1, detail=detail)


def _show(engine: Engine, middles: Sequence[Middle], mode: Mode) -> Iterator[Shown]:
    chosen = middles[:: len(middles) // _NUM_SHOWN][:_NUM_SHOWN]
    prompts = [
        Prompt(prefix=one.split.prefix, suffix=one.split.suffix, path=one.path) for one in chosen
    ]
    drawn = engine.complete(prompts, Sampling(max_tokens=_SHOWN_TOKENS, mode=mode))
    for middle, (completion,) in zip(chosen, drawn, strict=True):
        yield Shown(
            path=middle.path,
            expected=middle.split.middle,
            drawn=completion.text,
            is_ended=completion.finish_reason == "stop",
        )


def _is_released(name: str) -> bool:
    """Whether a name is that of a model on the hub, which has the released vocabulary."""
    model = find_model(name)
    return model is not None and model.repository is not None


def _named(name: str, config: ModelConfig) -> ModelConfig | None:
    """Find the configuration of a known name; a nano trained elsewhere has its own vocabulary."""
    model = find_model(name)
    if model is None:
        return None
    known = configs.by_name(model.name)
    return known if known.vocab_size == config.vocab_size or _is_released(name) else None


def _resembled(config: ModelConfig) -> ModelConfig | None:
    """Find the released model of these sizes, whatever the number of layers."""
    for known in (configs.codegemma_2b(), configs.codegemma_7b()):
        sizes = {"name": known.name, "num_layers": known.num_layers}
        if dataclasses.replace(config, **sizes) == known:
            return known
    return None
