# SPDX-License-Identifier: Apache-2.0
"""A training run in a folder: start or resume, update, measure, save, stop cleanly.

Reads a recipe and prepared data; writes `OUT/config.json`, `metrics.jsonl`, `steps/N/` and, when it
ends or is stopped, `OUT/model/`. Run again with the same arguments it goes on where it
stopped, bit for bit. What may change between runs of one folder is when to log and save, and the
end of the schedule; anything else is refused by name.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import jax
import numpy as np

from codegemma.data import mixture
from codegemma.data.loader import Encoded, draw_segment, readers
from codegemma.data.manifest import read_manifest, read_recipe
from codegemma.data.shards import PARTS, Record
from codegemma.errors import ConfigError, TrainingError
from codegemma.model.checkpoint import save_checkpoint
from codegemma.model.export import find_licences
from codegemma.model.metadata import Metadata
from codegemma.model.params import init_params, num_params, param_specs
from codegemma.text.tokenizer import Tokenizer
from codegemma.train import provenance
from codegemma.train.guard import interrupts, locked
from codegemma.train.heldout import HeldoutLoss
from codegemma.train.initial import keep_licences, load_initial
from codegemma.train.input import Batch, BatchIterator, Weighted, make_batches
from codegemma.train.metrics import MetricsLog, Speed, best_order, read_metrics
from codegemma.train.optimizer import learning_rate, make_optimizer
from codegemma.train.recipes import TrainRecipe
from codegemma.train.state import Progress, list_steps, restore_newest, restore_step, save_step
from codegemma.train.step import init_state, make_scorer, make_step

TOKENIZER_NAME: Final = "tokenizer.model"

_BEGINNING: Final = Progress(step=0, input_state={})

Listener = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a run ended.

    Args:
        step: Updates done in all.
        is_finished: Whether the schedule came to its end, rather than a time limit.
        model: Folder of the model, of this step.
    """

    step: int
    is_finished: bool
    model: Path


def train(
    recipe: TrainRecipe,
    *,
    data: Path,
    out: Path,
    start: Path | None = None,
    model: Path | None = None,
    decay_steps: int | None = None,
    max_minutes: float | None = None,
    listener: Listener | None = None,
) -> Outcome:
    """Train, or go on with the training that `out` holds.

    SIGINT and SIGTERM let the step under way finish, save it and write the model.

    Args:
        recipe: All settings.
        data: Output folder of `codegemma prepare`.
        out: Folder of the run.
        start: Step folder of another run to go on from, data position included, when `out` is new.
        model: Folder of a model whose weights a new run begins with.
        decay_steps: End the stable phase at the newest step and let the rate fall over so many
            steps more; the step it starts from is kept.
        max_minutes: Save and stop after so long, between steps; compiling does not count.
        listener: Called with each line of the log.

    Raises:
        ConfigError: The recipe does not fit the data, or is not that of the folder.
        DataError: The data is damaged.
        CheckpointError: No good step is left, or the disk refuses.
        TrainingError: The loss is not finite; the last finite step is saved.
        KeyboardInterrupt: A signal came; the last step and its model are saved.
    """
    for part in PARTS:
        for reader in readers(data, part).values():
            reader.verify()
    with locked(out):
        run = _Run(recipe, data=data, out=out, start=start, model=model, decay_steps=decay_steps)
        return run.go(max_minutes=max_minutes, listener=listener)


class _Run:
    """The parts of a run, put together; `go` is the loop."""

    def __init__(
        self,
        recipe: TrainRecipe,
        *,
        data: Path,
        out: Path,
        start: Path | None,
        model: Path | None,
        decay_steps: int | None,
    ) -> None:
        self.out = out
        self.steps = out / "steps"
        self.heldout_readers = readers(data, "heldout")
        self.tokenizer_file = data / TOKENIZER_NAME
        self.tokenizer = Tokenizer.from_file(self.tokenizer_file)
        _check_budget(data, recipe)
        config = dataclasses.replace(recipe.model, vocab_size=self.tokenizer.vocab_size)
        recipe = dataclasses.replace(recipe, model=config)
        recipe = provenance.as_prepared(recipe, data=read_recipe(data))
        self.inputs = provenance.hash_inputs(data, tokenizer=self.tokenizer)
        recipe = provenance.continue_config(recipe, out=out, inputs=self.inputs)

        optimizer = make_optimizer(
            recipe.optimizer, specs=param_specs(config), dtype=recipe.compute.dtype
        )
        key = jax.random.key(recipe.run.seed)
        make_state = jax.jit(lambda: init_state(init_params(config, key=key), optimizer=optimizer))
        like = jax.eval_shape(make_state)
        self.origin: dict[str, Any] | None = None
        if (newest := restore_newest(self.steps, like=like)) is not None:
            self.state, self.progress = newest
            self.origin = provenance.read_origin(out)
        elif start is not None:
            self.state, self.progress = restore_step(start, like=like)
            run = start.resolve().parents[1]
            self.origin = provenance.read_origin(run)
            keep_licences(run, out)
        elif model is not None:
            found = load_initial(model, config=config, tokenizer=self.tokenizer)
            self.state, self.progress = init_state(found.params, optimizer=optimizer), _BEGINNING
            self.origin = found.origin
            keep_licences(model, out)
        else:
            self.state, self.progress = make_state(), _BEGINNING
        self.recipe = provenance.with_decay(
            recipe, decay_steps=decay_steps, step=self.progress.step
        )
        provenance.write_config(self.recipe, out=out, inputs=self.inputs, origin=self.origin)

        self.batches = self._make_batches(data)
        self.update = make_step(
            model=config,
            optimizer=optimizer,
            compute=recipe.compute,
            micro_batches=recipe.input.micro_batches,
        )
        self.heldout: Callable[[], dict[str, float | int]] | None = None

    def go(self, *, max_minutes: float | None, listener: Listener | None) -> Outcome:
        """Update until the schedule ends, time is up, a signal comes or the loss is not finite."""
        recipe, step = self.recipe, self.progress.step
        deadline = time.monotonic() + max_minutes * 60 if max_minutes else math.inf
        log = MetricsLog(self.out / "metrics.jsonl", step=step, listener=listener)
        if step < recipe.schedule.num_steps:
            size = num_params(recipe.model)
            log.write("start", step, {"parameters": size, "num_steps": recipe.schedule.num_steps})
        speed, saved, first = Speed(), step, step + 1
        with closing(self.batches), interrupts() as is_interrupted:
            while step < recipe.schedule.num_steps and time.monotonic() < deadline:
                began = time.monotonic()
                metrics = self._update()
                if not math.isfinite(metrics["loss"]) or not math.isfinite(metrics["grad_norm"]):
                    self._save()
                    raise TrainingError(
                        f"loss {metrics['loss']} or gradient norm {metrics['grad_norm']} of step "
                        f"{step + 1} is not finite; step {step} is saved in {self.steps}; lower "
                        "schedule.peak or look at the data"
                    )
                step += 1
                speed.add(int(metrics["tokens"]))
                if step == first:
                    deadline += time.monotonic() - began  # most of it went into compiling
                is_last = (
                    step == recipe.schedule.num_steps
                    or time.monotonic() >= deadline
                    or is_interrupted()
                )
                if step == first or step % recipe.run.log_every == 0 or is_last:
                    left = speed.seconds_left(recipe.schedule.num_steps - step)
                    rates = {"tokens_per_s": speed.tokens_per_s, "seconds_left": left}
                    log.write("step", step, metrics | rates)
                if is_interrupted():
                    break
                if step % recipe.run.heldout_every == 0:
                    self._log_heldout(log, step)
                if step % recipe.run.checkpoint_every == 0:
                    self._save()
                    saved = step
                speed.pause()
            if step != saved or step not in list_steps(self.steps):
                self._save()
            if not is_interrupted() and not log.holds("heldout", step):
                self._log_heldout(log, step)
            model = self._export()
            if is_interrupted():
                raise KeyboardInterrupt
        return Outcome(step=step, is_finished=step >= recipe.schedule.num_steps, model=model)

    def _update(self) -> dict[str, Any]:
        began = time.monotonic()
        batch = next(self.batches)
        rate = learning_rate(self.progress.step, self.recipe.schedule)
        on_device = Batch(*(jax.device_put(x) for x in batch))
        self.state, result = self.update(self.state, on_device, rate)
        result = jax.device_get(result)
        if result.is_finite:
            self.progress = Progress(
                step=self.progress.step + 1,
                input_state=self.batches.state,
                trained_tokens=self.progress.trained_tokens + int((batch.loss_weights > 0).sum()),
                seconds=self.progress.seconds + time.monotonic() - began,
                uncut_fallbacks=self.progress.uncut_fallbacks + self.batches.num_fallbacks,
            )
        return {
            "loss": float(result.loss),
            "grad_norm": float(result.grad_norm),
            "learning_rate": rate,
            "tokens": int(batch.tokens.size),
            "trained_tokens": self.progress.trained_tokens,
            "seconds": self.progress.seconds,
            "uncut_fallbacks": self.progress.uncut_fallbacks,
        }

    def _make_batches(self, data: Path) -> BatchIterator:
        """Draw from the genres of the data set by the weights its manifest gives."""
        recipe = self.recipe
        encoder = partial(encode, self.tokenizer, recipe)
        weights = mixture.record_weights(read_manifest(data))
        sources = [Weighted(reader, weights[genre]) for genre, reader in readers(data).items()]
        batches = make_batches(sources, encode=encoder, config=recipe.input)
        if self.progress.step:
            batches.restore(self.progress.input_state)
        return batches

    def _log_heldout(self, log: MetricsLog, step: int) -> None:
        """Measure the held-out loss, where anything is held out."""
        if not self.heldout_readers:
            return
        if self.heldout is None:
            recipe = self.recipe
            sample = HeldoutLoss(
                self.heldout_readers,
                tokenizer=self.tokenizer,
                recipe=recipe.data,
                config=recipe.input,
                num_rows=recipe.run.heldout_rows,
            )
            scorer = make_scorer(model=recipe.model, compute=recipe.compute)
            self.heldout = lambda: sample.measure(self.state.params, scorer=scorer)
        log.write("heldout", step, self.heldout())

    def _save(self) -> None:
        schedule, every = self.recipe.schedule, self.recipe.run.keep_every
        keep = {schedule.num_steps - schedule.decay_steps} if schedule.decay_steps else set()
        keep |= {step for step in list_steps(self.steps) if every and step % every == 0}
        save_step(self.steps, self.state, self.progress, keep=keep)

    def _export(self) -> Path:
        folder, origin = self.out / "model", self.origin or {}
        training = provenance.summary(
            self.recipe,
            inputs=self.inputs,
            origin=self.origin,
            step=self.progress.step,
            trained_tokens=self.progress.trained_tokens,
        )
        save_checkpoint(
            folder,
            config=self.recipe.model,
            params=jax.tree.map(np.asarray, self.state.params),
            tokenizer_file=self.tokenizer_file,
            metadata=Metadata(
                name=self.recipe.name,
                mode=best_order(read_metrics(self.out / "metrics.jsonl")) or origin.get("mode"),
                # What others' licences do not cover is its owner's to license.
                licence=origin.get("licence") if self.recipe.data.permissive_only else None,
                training=training,
            ),
            licence_files=find_licences(self.out),
            replace=True,
        )
        return folder


def _check_budget(data: Path, recipe: TrainRecipe) -> None:
    budget = read_recipe(data).context_tokens
    if budget > recipe.input.row_tokens:
        raise ConfigError(
            f"{data} holds examples of up to {budget} tokens, and input.row_tokens is "
            f"{recipe.input.row_tokens}; prepare with a smaller context or take longer rows"
        )


def encode(tokenizer: Tokenizer, recipe: TrainRecipe, record: Record, epoch: int) -> Encoded:
    """Encode a record as the recipe cuts it in this epoch."""
    return draw_segment(
        record, tokenizer=tokenizer, recipe=recipe.data, seed=recipe.input.seed, epoch=epoch
    )
