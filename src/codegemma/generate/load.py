# SPDX-License-Identifier: Apache-2.0
"""From a model's name or folder to a completer that is ready to draw.

Chooses device, dtype and infill order, and keeps compiled programs in the user's cache folder so
that a later start need not compile. Nothing here happens at import.

Unstated: which infill order the released checkpoints are best at; without a record of `verify`
they get PSM, the documented one.
"""

import hashlib
import logging
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import jax

from codegemma.completion import Completer, CompleterInfo, Mode
from codegemma.generate.engine import Engine
from codegemma.generate.record import read_record
from codegemma.generate.trimmed import Trimmed
from codegemma.generate.weights import row_bytes
from codegemma.kernels import native
from codegemma.model.checkpoint import Checkpoint, load_checkpoint
from codegemma.model.config import ModelConfig
from codegemma.model.folder import cache_folder, hub_revision
from codegemma.model.hub import resolve
from codegemma.model.params import num_params

Progress = Callable[[int, int], None]

SMALL_MODEL_PARAMS: Final = 500_000_000
"""A model with fewer weights runs in float32 on a CPU, several times faster than in bfloat16."""

PREFIX_CACHE_BYTES: Final = 512 << 20
"""Most bytes of keys and values that a completer keeps for later requests; see `most_kept`."""

LEAST_READ: Final = 1024
"""Tokens of an infill prompt that a large model reads on any processor; see `most_read`."""

_READ_A_CORE: Final = 256

_MIN_KEPT: Final = 2, 2048  # rows of bfloat16, and their slots: 1.9 GB for the 7B

_TOLD_NAME: Final = "told-of-no-kernels"
_CACHE_SETTING: Final = "jax_compilation_cache_dir"
_log = logging.getLogger(__name__)
_CPUINFO: Final = Path("/proc/cpuinfo")


def load_completer(
    name_or_path: str | Path, *, dtype: Any = None, progress: Progress | None = None
) -> Completer:
    """Load a model for completing; it is not compiled yet, which its first requests do.

    Infills are trimmed to what fits the code around the cursor; scoring, which wants them as they
    were drawn, takes `load_engine`.

    Args:
        name_or_path: Name of a model, its folder, or a GGUF file.
        dtype: "float32" or "bfloat16". None: on a CPU float32 for small models; otherwise what
            is stored. A large bfloat16 model stays bfloat16 on a CPU: float32 would take twice
            the memory. Quantised weights stay as they are, and are computed with in float32.
        progress: Told the bytes of weights made so far and in all, from several threads.

    Raises:
        CodegemmaError: There is no such model, its files are refused, or memory is short.
    """
    return Trimmed(
        load_engine(
            name_or_path,
            dtype=dtype,
            progress=progress,
            is_for_one=True,
            is_speculative=True,
            prefix_cache_bytes=PREFIX_CACHE_BYTES,
        )
    )


def load_engine(
    name_or_path: str | Path,
    *,
    dtype: Any = None,
    progress: Progress | None = None,
    is_for_one: bool = False,
    is_speculative: bool = False,
    prefix_cache_bytes: int = 0,
) -> Engine:
    """Load a model as the engine itself, as `load_completer` does; for measuring.

    Args:
        name_or_path: Name of a model, its folder, or a GGUF file.
        dtype: As for `load_completer`.
        progress: As for `load_completer`.
        is_for_one: As of `Engine`; without it no answer depends on which was the first, nor is
            more cut of a prompt than what the context cannot hold (`most_read`).
        is_speculative: As of `Engine`.
        prefix_cache_bytes: As of `Engine`; with 0 none depends on those before it. Two rows of
            2,048 tokens are kept whatever they take.

    Raises:
        CodegemmaError: There is no such model, its files are refused, or memory is short.
    """
    keep_compiled_programs()
    folder = resolve(name_or_path)
    device = jax.devices()[0].platform

    def choose(config: ModelConfig) -> Any:
        is_small = num_params(config) < SMALL_MODEL_PARAMS
        return "float32" if dtype is None and is_small and device == "cpu" else dtype

    checkpoint = load_checkpoint(folder, dtype=choose, progress=progress)
    if device == "cpu" and native.choose_path() is None:
        _tell_without_kernels(name_or_path, is_quantised=bool(checkpoint.metadata.weights))
    chosen = checkpoint.params["final_norm"].dtype
    return Engine(
        checkpoint.params,
        config=checkpoint.config,
        tokenizer=checkpoint.tokenizer,
        info=CompleterInfo(
            name=str(name_or_path),
            context_length=checkpoint.config.context_length,
            mode=_best_mode(checkpoint, folder),
            is_instruction=checkpoint.metadata.is_instruction,
            fingerprint=checkpoint.fingerprint,
            revision=hub_revision(folder),
            device=device,
            dtype=checkpoint.metadata.weights or str(chosen),
            most_read=most_read(checkpoint.config, device) if is_for_one else None,
        ),
        dtype=chosen,
        is_for_one=is_for_one,
        is_speculative=is_speculative,
        prefix_cache_bytes=prefix_cache_bytes and most_kept(checkpoint.config, prefix_cache_bytes),
    )


def most_read(config: ModelConfig, device: str) -> int | None:
    """Count the tokens of an infill prompt that are read while a user waits; None: all.

    A 2B with int4 weights reads 25 tokens a second and core with AVX2, 135 with AMX
    (`benchmarks/bench_engine.py`): the first prompt takes some seconds, later ones the
    part that changed.
    """
    if device != "cpu" or num_params(config) < SMALL_MODEL_PARAMS:
        return None
    return max(LEAST_READ, _READ_A_CORE * (os.cpu_count() or 1))


def most_kept(config: ModelConfig, num_bytes: int) -> int:
    """Give `num_bytes`, or what two rows of a common length take where that is more."""
    num_rows, num_slots = _MIN_KEPT
    return max(num_bytes, num_rows * row_bytes(config, num_slots=num_slots, itemsize=2))


def keep_compiled_programs() -> None:
    """Let jax keep what it compiles in the user's cache folder, for this kind of machine.

    A folder that jax was given by other means is left as it is.
    """
    if getattr(jax.config, _CACHE_SETTING) is not None:
        return
    folder = cache_folder() / "jax" / _machine_key()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # without a place to write, every start compiles
    jax.config.update(_CACHE_SETTING, str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _tell_without_kernels(name_or_path: str | Path, *, is_quantised: bool) -> None:
    """Say that there are no native kernels: each time of weights made for them, else once.

    Once for this machine's cache folder; where that cannot be written, never.
    """
    if not is_quantised and (native.is_declined() or not _is_first_time()):
        return
    _log.warning("%s: %s", name_or_path, native.describe())


def _is_first_time() -> bool:
    path = cache_folder() / _TOLD_NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(exist_ok=False)
    except OSError:  # it is there, among others
        return False
    return True


def _best_mode(checkpoint: Checkpoint, folder: Path) -> Mode:
    """Take the order that `verify` measured, else what the model says of itself, else PSM."""
    record = read_record(folder, fingerprint=checkpoint.fingerprint)
    if record is not None:
        return record.mode
    return checkpoint.metadata.mode or "psm"


def _machine_key() -> str:
    """Name the kind of processor: a program compiled for another one may not run on this."""
    features = platform.machine()
    try:
        lines = _CPUINFO.read_text(encoding="ascii", errors="replace").splitlines()
        features += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        features += platform.processor() + os.environ.get("PROCESSOR_IDENTIFIER", "")
    return hashlib.sha256(features.encode()).hexdigest()[:16]
