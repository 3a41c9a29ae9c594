# SPDX-License-Identifier: Apache-2.0
"""Write a model folder or a GGUF file, all or nothing, and convert one into another.

What is written is Hugging Face's layout, and on top of it, for a folder of ours, `codegemma.json`
and `manifest.json`. Licences and notices travel with the weights. Tensors pass through one after
the other; the whole model is never in memory here.
"""

import dataclasses
import hashlib
import importlib.metadata
import json
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from codegemma.errors import CheckpointError, ConfigError
from codegemma.model.config import ModelConfig
from codegemma.model.convert import gguf, hf, hf_config
from codegemma.model.convert.hf import StoredTensor
from codegemma.model.convert.vocabulary import (
    Vocabulary,
    parse_sentencepiece,
    render_sentencepiece,
)
from codegemma.model.folder import atomic_file, atomic_folder, cache_folder, contained_file
from codegemma.model.ggufile import QUANTISED, Block, GgufFile, num_bytes, write_gguf
from codegemma.model.hub import GGUF_SUFFIX
from codegemma.model.manifest import write_manifest
from codegemma.model.metadata import GEMMA_LICENCE, GEMMA_TERMS, METADATA_NAME, Metadata
from codegemma.model.stored import StoredCheckpoint, open_checkpoint, parse_dtype
from codegemma.model.tensorfile import write_tensorfile
from codegemma.text.tokenizer import FILE_NAMES as TOKENIZER_NAMES

Layout = Literal["hf", "native"]
"""A folder as transformers reads it, or the same with `codegemma.json` and `manifest.json`."""

GGUF_KINDS: Final = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
"""Types of a GGUF file's matrices by the dtype asked for."""

GGUF_QUANTIZED: Final = {"int8": "Q8_0", "int4": "Q4_0"}
"""The same by the quantisation asked for."""

MAX_SHARD_BYTES: Final = 5_000_000_000
_TOKENIZER_COMPANIONS: Final = (
    *TOKENIZER_NAMES,
    hf_config.TOKENIZER_CONFIG_NAME,
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)
_CARD: Final = "README.md"
_LICENCE_NAMES: Final = ("LICENSE", "LICENCE", "NOTICE", "USE_POLICY")
_NOTICE: Final = (
    f"Gemma is provided under and subject to the Gemma Terms of Use found at {GEMMA_TERMS}"
)


def write_checkpoint(
    folder: Path | str,
    *,
    config: ModelConfig,
    metadata: Metadata,
    blocks: Callable[[StoredTensor], Iterable[np.ndarray]],
    dtype: np.dtype,
    tokenizer_file: Path,
    licence_files: Sequence[Path] = (),
    notices: Mapping[str, str] | None = None,
    layout: Layout = "native",
    max_shard_bytes: int = MAX_SHARD_BYTES,
    replace: bool = False,
    check: Callable[[], None] | None = None,
) -> None:
    """Write a model folder, all or nothing.

    Args:
        folder: The folder to make.
        config: Shape of the model.
        metadata: What it says of itself.
        blocks: Gives the values of a tensor as contiguous blocks of rows.
        dtype: Dtype of those values.
        tokenizer_file: Vocabulary; the other tokenizer files beside it travel with it. A GGUF
            file gives the one in it.
        licence_files: Licences and notices that travel with the weights.
        notices: More of them, text by file name.
        layout: Whether to add our own two files.
        max_shard_bytes: Most bytes of weights in one file.
        replace: Whether an existing folder is replaced.
        check: Called when all is written, before the folder appears; what it raises leaves nothing.

    Raises:
        CheckpointError: The folder exists, the disk is full, or a value is NaN or Inf.
    """
    tensors = {tensor.name: tensor for tensor in hf.stored_tensors(config)}
    write_folder(
        Path(folder),
        config=config,
        metadata=metadata,
        shapes={name: tensor.shape for name, tensor in tensors.items()},
        dtypes=dict.fromkeys(tensors, dtype),
        blocks=lambda name: blocks(tensors[name]),
        dtype=dtype,
        tokenizer_file=tokenizer_file,
        licence_files=licence_files,
        notices=notices or {},
        layout=layout,
        max_shard_bytes=max_shard_bytes,
        replace=replace,
        check=check,
    )


def write_folder(
    folder: Path,
    *,
    config: ModelConfig,
    metadata: Metadata,
    shapes: Mapping[str, tuple[int, ...]],
    dtypes: Mapping[str, np.dtype],
    blocks: Callable[[str], Iterable[np.ndarray]],
    dtype: np.dtype,
    tokenizer_file: Path,
    licence_files: Sequence[Path],
    notices: Mapping[str, str],
    layout: Layout,
    max_shard_bytes: int,
    replace: bool,
    check: Callable[[], None] | None,
) -> None:
    """Write tensors of any names and dtypes, and what stands beside them in a model folder.

    Args as of `write_checkpoint`, but shapes, dtypes and blocks go by the names in the files, and
    `dtype` is only what `config.json` calls the weights.

    Raises:
        CheckpointError: The folder exists, the disk is full, or a value is NaN or Inf.
    """
    sizes = {name: math.prod(shape) * dtypes[name].itemsize for name, shape in shapes.items()}
    plan = hf.plan_shards(sizes, max_shard_bytes=max_shard_bytes)
    with atomic_folder(folder, replace=replace) as partial:
        _check_disk(partial.parent, needed_bytes=sum(sizes.values()))
        known: dict[str, str] = {}
        for shard, names in plan.items():
            known[shard] = write_tensorfile(
                partial / shard,
                {name: shapes[name] for name in names},
                dtype=dtypes,
                blocks=blocks,
            )
        if len(plan) > 1:
            places = {name: shard for shard, names in plan.items() for name in names}
            index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": places}
            _write_json(partial / hf.INDEX_NAME, index)
        _write_companions(
            partial,
            config=config,
            metadata=metadata,
            dtype=dtype,
            tokenizer_file=tokenizer_file,
            licence_files=licence_files,
            notices=notices,
        )
        if layout == "native":
            _write_json(partial / METADATA_NAME, metadata.raw)
            write_manifest(partial, known=known)
        if check is not None:
            check()


def convert_checkpoint(
    source: Path | str,
    target: Path | str,
    *,
    layout: Layout,
    dtype: str | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a model folder anew in another layout or dtype; licences travel with it.

    Args:
        source: The folder to read.
        target: The folder to make.
        layout: "hf" for what transformers reads, "native" for that and our own files.
        dtype: "bfloat16" or "float32"; None keeps the dtype.
        max_shard_bytes: Most bytes of weights in one file.
        progress: Told the bytes of weights read so far and in all.

    Raises:
        CheckpointError: The source is refused, or the target cannot be written.
        ConfigError: The dtype is unknown.
    """
    stored = open_checkpoint(source)
    kept = stored.dtype
    wanted = kept if dtype is None else parse_dtype(dtype)
    metadata = stored.metadata
    if wanted != kept or metadata.weights:
        line = f"Converted the weights from {metadata.weights or kept} to {wanted}."
        history = (*metadata.history, line)
        metadata = dataclasses.replace(metadata, weights=None, history=history)
    total = sum(math.prod(tensor.shape) for tensor in hf.stored_tensors(stored.config))
    done = 0

    def blocks(tensor: StoredTensor) -> Iterator[np.ndarray]:
        nonlocal done
        for block in stored.blocks(tensor, dtype=wanted):
            yield block
            done += block.size
            if progress:
                progress(done * wanted.itemsize, total * wanted.itemsize)

    write_checkpoint(
        target,
        config=stored.config,
        metadata=metadata,
        blocks=blocks,
        dtype=wanted,
        tokenizer_file=stored.tokenizer.path,
        licence_files=() if stored.folder.is_file() else find_licences(stored.folder),
        notices=stored.notices,
        layout=layout,
        max_shard_bytes=max_shard_bytes,
        check=stored.check_unchanged,
    )


def convert_to_gguf(
    source: Path | str,
    target: Path | str,
    *,
    dtype: str | None = None,
    quantize: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a model as a GGUF file that llama.cpp runs; licences are keys of its metadata.

    Quantised values are those of our own int8 and int4: made by the same quantiser, and the same
    ones where the source has them already.

    Args:
        source: The folder or GGUF file to read.
        target: The file to make.
        dtype: A key of `GGUF_KINDS`.
        quantize: A key of `GGUF_QUANTIZED`; without both, dtype or format are kept.
        progress: Told the values read so far and in all, as bytes of float32.

    Raises:
        CheckpointError: The source is refused, or the target cannot be written.
        ConfigError: The target's name does not end in .gguf; or both dtype and quantisation are
            given.
    """
    target = Path(target)
    if target.suffix != GGUF_SUFFIX:
        raise ConfigError(f"{target}: expected the name of a file that ends in {GGUF_SUFFIX}")
    if dtype is not None and quantize is not None:
        raise ConfigError(f"the weights become {dtype} or {quantize}, not both")
    stored = open_checkpoint(source)
    if dtype is None and quantize is None:
        quantize = stored.weight_format
    kind = GGUF_QUANTIZED[quantize] if quantize else GGUF_KINDS[dtype or stored.dtype.name]
    tensors = {tensor.name: tensor for tensor in hf.stored_tensors(stored.config)}
    planned = gguf.plan_tensors(stored.config, kind=kind)
    total = sum(math.prod(shape) for shape, _ in planned.values())
    done = 0
    names = {gguf.to_gguf(name): name for name in planned}

    def values(name: str) -> Iterator[Block]:
        if (quantised := QUANTISED.get(planned[name][1])) is not None:
            yield from stored.grouped_blocks(tensors[name], kind=quantised)
            return
        wide = np.dtype(np.float32)
        kept = stored.dtype if kind == "BF16" and stored.dtype != wide else wide
        for block in stored.blocks(tensors[name], dtype=kept):
            yield gguf.to_stored(block, name)

    def blocks(theirs: str) -> Iterator[Block]:
        nonlocal done
        for block in values(names[theirs]):
            yield block
            done += block[0].size if isinstance(block, tuple) else block.size
            if progress:
                progress(done * 4, total * 4)

    line = f"Written as GGUF with matrices of {kind}."
    history = (*stored.metadata.history, line)
    metadata = dataclasses.replace(stored.metadata, weights=None, history=history)
    with atomic_file(target) as partial:
        _check_disk(
            partial.parent, needed_bytes=sum(num_bytes(shape, k) for shape, k in planned.values())
        )
        write_gguf(
            partial,
            architecture=gguf.ARCHITECTURE,
            metadata=gguf.render_metadata(
                stored.config,
                metadata=metadata,
                vocabulary=_read_vocabulary(stored.tokenizer.path),
                notices=_all_notices(stored),
                kind=kind,
            ),
            tensors={theirs: planned[name] for theirs, name in names.items()},
            blocks=blocks,
        )
        stored.check_unchanged()


def extract_vocabulary(path: Path) -> Path:
    """Write the vocabulary of a GGUF file to the user's cache as a `tokenizer.model`."""
    data = render_sentencepiece(_read_vocabulary(path))
    target = cache_folder() / "vocabularies" / f"{hashlib.sha256(data).hexdigest()[:32]}.model"
    if not target.exists():
        with atomic_file(target) as partial:
            partial.write_bytes(data)
    return target


def _read_vocabulary(path: Path) -> Vocabulary:
    if path.suffix == GGUF_SUFFIX:
        return gguf.parse_vocabulary(GgufFile(path))
    if path.suffix == ".json":
        raise CheckpointError(
            f"{path.parent}: a GGUF file needs the SentencePiece vocabulary {TOKENIZER_NAMES[0]}; "
            f"{path.name} holds no scores"
        )
    return parse_sentencepiece(path.read_bytes(), place=str(path))


def _all_notices(stored: StoredCheckpoint) -> dict[str, str]:
    """Collect licences and notices, with what the Gemma Terms of Use ask of a copy."""
    found = dict(stored.notices)
    if not stored.folder.is_file():
        for path in find_licences(stored.folder):
            found[path.name] = path.read_text(encoding="utf-8", errors="replace")
    if stored.metadata.licence == GEMMA_LICENCE:
        text = found.get("NOTICE", "")
        found["NOTICE"] = _add_notice(text, name=stored.metadata.name, form="GGUF")
    return found


def find_licences(folder: Path) -> list[Path]:
    """List the licences, notices and use policies of a model folder."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    return [
        contained_file(folder, name) for name in names if name.upper().startswith(_LICENCE_NAMES)
    ]


def _check_disk(folder: Path, *, needed_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise CheckpointError(
            f"{folder}: the weights need {needed_bytes / 1e9:.1f} GB of disk, "
            f"{free / 1e9:.1f} GB are free"
        )


def _write_companions(
    folder: Path,
    *,
    config: ModelConfig,
    metadata: Metadata,
    dtype: np.dtype,
    tokenizer_file: Path,
    licence_files: Sequence[Path],
    notices: Mapping[str, str],
) -> None:
    """Write everything beside the weights: configuration, tokenizer, licences."""
    is_instruction = metadata.is_instruction
    is_quantised = metadata.weights is not None
    _write_json(
        folder / hf_config.CONFIG_NAME,
        hf_config.render_config(config, dtype=dtype.name, is_quantised=is_quantised),
    )
    _write_json(
        folder / hf_config.GENERATION_NAME,
        hf_config.render_generation_config(is_instruction=is_instruction),
    )
    if tokenizer_file.suffix == GGUF_SUFFIX:
        vocabulary = render_sentencepiece(_read_vocabulary(tokenizer_file))
        (folder / TOKENIZER_NAMES[0]).write_bytes(vocabulary)
    for name in () if tokenizer_file.suffix == GGUF_SUFFIX else (*_TOKENIZER_COMPANIONS, _CARD):
        if (tokenizer_file.parent / name).exists():
            shutil.copyfile(contained_file(tokenizer_file.parent, name), folder / name)
    if not (folder / hf_config.TOKENIZER_CONFIG_NAME).exists():
        _write_json(
            folder / hf_config.TOKENIZER_CONFIG_NAME,
            hf_config.render_tokenizer_config(is_instruction=is_instruction),
        )
    for path in licence_files:
        shutil.copyfile(path, folder / path.name)
    for name, text in notices.items():
        if name.upper().startswith(_LICENCE_NAMES) and Path(name).name == name:
            (folder / name).write_text(text, encoding="utf-8")
    if metadata.licence == GEMMA_LICENCE:
        _write_notice(folder / "NOTICE", metadata=metadata, dtype=dtype)


def _write_notice(path: Path, *, metadata: Metadata, dtype: np.dtype) -> None:
    """Add what the Gemma Terms of Use ask of a copy: their notice, and that it was modified."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    path.write_text(
        _add_notice(text, name=metadata.name, form=metadata.weights or str(dtype)), encoding="utf-8"
    )


def _add_notice(text: str, *, name: str, form: str) -> str:
    if GEMMA_TERMS not in text:
        text += f"{_NOTICE}\n"
    version = importlib.metadata.version("codegemma")
    line = f"Modified: {name} was written anew as {form} by codegemma {version}.\n"
    return text if line in text else text + line


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
