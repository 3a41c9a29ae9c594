# SPDX-License-Identifier: Apache-2.0
"""Prepared data and a recipe so small that a run takes seconds; compiled programs are shared."""

import dataclasses
import json
import shutil
import wsgiref
from collections.abc import Generator
from pathlib import Path

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from codegemma.data import pipeline
from codegemma.data import recipes as data_recipes
from codegemma.model import config as models
from codegemma.text.tokenizer import Tokenizer
from codegemma.train.input import InputConfig
from codegemma.train.optimizer import OptimizerConfig, ScheduleConfig
from codegemma.train.recipes import RunConfig, TrainRecipe
from codegemma.train.step import ComputeConfig

TOKENIZER = Path(__file__).parents[1] / "golden" / "tokenizer" / "tokenizer.model"
LICENCE = Path(__file__).parents[2] / "LICENSE"


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="module", autouse=True)
def quick_compilation(compiled: Path) -> Generator[None]:
    """Compile with little optimisation, and each program once: runs of one recipe share it."""
    folder = jax.config.jax_compilation_cache_dir

    def use(*, is_quick: bool, cache: str | None, min_seconds: float) -> None:
        jax.config.update("jax_disable_most_optimizations", is_quick)
        jax.config.update("jax_compilation_cache_dir", cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", min_seconds)
        compilation_cache.reset_cache()

    use(is_quick=True, cache=str(compiled), min_seconds=0.0)
    yield
    use(is_quick=False, cache=folder, min_seconds=1.0)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(TOKENIZER)


@pytest.fixture(scope="session")
def recipe() -> TrainRecipe:
    return make_recipe()


def make_recipe() -> TrainRecipe:
    """16 steps of 2 rows of 128 tokens, a checkpoint every 4."""
    return TrainRecipe(
        name="test",
        model=dataclasses.replace(models.tiny(), context_length=128),
        data=dataclasses.replace(
            data_recipes.nano(),
            context_tokens=128,
            window_tokens=(128,),
            heldout=("wsgiref",),
        ),
        input=InputConfig(row_tokens=128, rows=2),
        optimizer=OptimizerConfig(kind="adamw"),
        schedule=ScheduleConfig(peak=1e-2, warmup_steps=2, num_steps=16),
        compute=ComputeConfig(unroll=False, loss_chunk=256),
        run=RunConfig(log_every=1, heldout_every=100, heldout_rows=3, checkpoint_every=4),
    )


@pytest.fixture(scope="session")
def data(recipe: TrainRecipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The standard library's json (train) and wsgiref (held out), prepared."""
    root = tmp_path_factory.mktemp("sources")
    for package in (json, wsgiref):
        source, target = Path(package.__file__).parent, root / package.__name__
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(LICENCE, target / "LICENSE")
    settings = pipeline.Settings(
        sources=(root,), recipe=recipe.data, tokenizer_file=TOKENIZER, each=True
    )
    out = tmp_path_factory.mktemp("data") / "out"
    pipeline.prepare(settings, out=out)
    return out
