# SPDX-License-Identifier: Apache-2.0
"""Weights in the layout of Hugging Face: names, shapes, shards.

There, each layer's weights lie apart and a product's matrix is stored outputs first; here, layers
are stacked and inputs come first. This module says which stored tensor is which part of our tree,
finds the tensors of a folder, and checks that they are exactly those of a configuration. It moves
no values: `checkpoint.py` does.

Source: the conversion script and modelling code of transformers for Gemma.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from codegemma.errors import CheckpointError, ConfigError
from codegemma.kernels.formats import WeightFormat, quantised_shapes
from codegemma.model.config import ModelConfig
from codegemma.model.folder import contained_file, read_json_object
from codegemma.model.tensorfile import FLOATS, TensorFile, TensorSource

WEIGHTS_NAME: Final = "model.safetensors"
INDEX_NAME: Final = "model.safetensors.index.json"
EMBEDDING_NAME: Final = "model.embed_tokens.weight"
HEAD_NAME: Final = "lm_head.weight"

PADDING_ROWS: Final = 128
"""Rows that Flax and MaxText append to Gemma's embedding table; no token has their ids."""

PICKLES: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
"""Endings of files that other programs keep weights in as pickles."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredTensor:
    """One tensor of the layout, and the part of our tree it is.

    Args:
        name: Its name in the files.
        shape: Its shape in the files.
        leaf: Path of our weight, such as ("layers", "q").
        layer: Index on our weight's first axis; None where it is not stacked.
        is_product: Whether it is a matrix stored outputs first: our part of shape
            [inputs..., outputs...], flattened to two dimensions, is its transpose.
    """

    name: str
    shape: tuple[int, ...]
    leaf: tuple[str, ...]
    layer: int | None
    is_product: bool

    @property
    def is_matrix(self) -> bool:
        """Whether it has two axes, as all but the norms; those may be quantised."""
        return len(self.shape) == 2


def stored_tensors(config: ModelConfig) -> Iterator[StoredTensor]:
    """Yield every tensor of a model, in the order in which they are written."""
    width, ffw = config.width, config.ffw_dim
    queries = config.num_heads * config.head_dim
    keys = config.num_kv_heads * config.head_dim
    products = {
        "self_attn.q_proj": ("q", (queries, width)),
        "self_attn.k_proj": ("k", (keys, width)),
        "self_attn.v_proj": ("v", (keys, width)),
        "self_attn.o_proj": ("o", (width, queries)),
        "mlp.gate_proj": ("gate", (ffw, width)),
        "mlp.up_proj": ("up", (ffw, width)),
        "mlp.down_proj": ("down", (width, ffw)),
    }
    norms = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffw_norm"}

    def single(name: str, leaf: str, *shape: int) -> StoredTensor:
        return StoredTensor(name=name, shape=shape, leaf=(leaf,), layer=None, is_product=False)

    yield single(EMBEDDING_NAME, "embedding", config.vocab_size, width)
    for layer in range(config.num_layers):
        prefix = f"model.layers.{layer}."
        for name, leaf in norms.items():
            yield StoredTensor(
                name=f"{prefix}{name}.weight",
                shape=(width,),
                leaf=("layers", leaf),
                layer=layer,
                is_product=False,
            )
        for name, (leaf, shape) in products.items():
            yield StoredTensor(
                name=f"{prefix}{name}.weight",
                shape=shape,
                leaf=("layers", leaf),
                layer=layer,
                is_product=True,
            )
    yield single("model.norm.weight", "final_norm", width)


class StoredPart(NamedTuple):
    """A tensor of a file: its name, its shape, and the dtypes it may have there."""

    name: str
    shape: tuple[int, ...]
    dtypes: tuple[str, ...]


def stored_parts(tensor: StoredTensor, *, weights: WeightFormat | None) -> tuple[StoredPart, ...]:
    """Give the tensors of the files that a weight is stored as.

    Floats are one. A quantised matrix is two, its values `NAME.q` and their scales `NAME.scale`,
    with a row for each block of outputs; of int4 weights, the embedding is int8.

    Raises:
        ConfigError: The matrix has sizes that are not quantised.
    """
    if weights is None or not tensor.is_matrix:
        return (StoredPart(tensor.name, tensor.shape, FLOATS),)
    kind = part_format(tensor, weights=weights)
    outputs, inputs = tensor.shape
    try:
        shapes = quantised_shapes(outputs, inputs, weights=kind)
    except ConfigError as error:
        raise ConfigError(f"{tensor.name}: {error}") from error
    (blocks, groups, size_bytes), (_, _, lanes) = shapes
    return (
        StoredPart(
            f"{tensor.name}.q",
            (blocks, groups * size_bytes),
            ("I8",) if kind == "int8" else ("U8",),
        ),
        StoredPart(f"{tensor.name}.scale", (blocks, groups * lanes), ("F16",)),
    )


def part_format(tensor: StoredTensor, *, weights: WeightFormat) -> WeightFormat:
    """Format of one matrix of a quantised model: the embedding, also the output, is int8."""
    return "int8" if tensor.name == EMBEDDING_NAME else weights


def find_weights(folder: Path) -> dict[str, TensorFile]:
    """Find the file of every tensor in a folder, in one file or in shards with an index.

    Raises:
        CheckpointError: There are no safetensors, or only pickles; both forms stand side by side;
            the index names a file outside the folder; or files and index disagree.
    """
    has_single = (folder / WEIGHTS_NAME).exists()
    has_index = (folder / INDEX_NAME).exists()
    if has_single and has_index:
        raise CheckpointError(
            f"{folder} holds two sets of weights, {WEIGHTS_NAME} and {INDEX_NAME}; remove one"
        )
    if has_single:
        file = TensorFile(contained_file(folder, WEIGHTS_NAME))
        return dict.fromkeys(file.entries, file)
    if not has_index:
        raise CheckpointError(_describe_absence(folder))
    return _read_shards(folder)


def match_weights(
    weights: Mapping[str, TensorSource],
    *,
    config: ModelConfig,
    num_padding_rows: int,
    is_tied: bool,
    weight_format: WeightFormat | None = None,
) -> None:
    """Check that the tensors found are exactly those of `config`.

    Args:
        weights: The file of every tensor, from `find_weights`.
        config: The model they should make.
        num_padding_rows: Rows of the embedding table beyond the vocabulary.
        is_tied: Whether the output may share the embedding; otherwise it must be stored, too.
        weight_format: That of quantised weights; None where they are floats.

    Raises:
        CheckpointError: A tensor is missing, too many, of another shape or of a dtype that is not
            read; or the output is not the embedding.
    """
    paths = [file.path for file in weights.values()]
    is_one = len(set(paths)) == 1 and paths[0].suffix != ".safetensors"
    place = (paths[0] if is_one else paths[0].parent) if paths else "the folder"
    expected: set[str] = set()
    parts = (stored_parts(tensor, weights=weight_format) for tensor in stored_tensors(config))
    for name, (rows, *columns), dtypes in itertools.chain.from_iterable(parts):
        expected.add(name)
        if name not in weights:
            raise CheckpointError(f"{place}: the tensor {name} is missing")
        file = weights[name]
        entry = file.entries[name]
        padding = num_padding_rows if name == EMBEDDING_NAME else 0
        if entry.shape != (rows + padding, *columns):
            raise CheckpointError(
                f"{file.path}: expected the tensor {name} of shape "
                f"{[rows + padding, *columns]}, found {list(entry.shape)}"
            )
        readable = file.readable if dtypes == FLOATS else dtypes
        if entry.dtype not in readable:
            raise CheckpointError(
                f"{file.path}: expected the tensor {name} as {', '.join(readable)}, "
                f"found {entry.dtype}"
            )
    if HEAD_NAME in weights:
        expected.add(HEAD_NAME)
        _check_head(weights)
    elif not is_tied:
        raise CheckpointError(
            f"{place}: the tensor {HEAD_NAME} is missing, and the configuration says that it is "
            "not the embedding (tie_word_embeddings is false)"
        )
    if surplus := sorted(weights.keys() - expected):
        file = weights[surplus[0]]
        raise CheckpointError(
            f"{file.path}: the tensor {surplus[0]} is none of this model's"
            + (f", and so are {len(surplus) - 1} more" if len(surplus) > 1 else "")
        )


def plan_shards(tensors: Mapping[str, int], *, max_shard_bytes: int) -> dict[str, list[str]]:
    """Divide tensors into files of at most `max_shard_bytes` of values.

    A tensor larger than that gets a file of its own.

    Args:
        tensors: Bytes of each tensor by name, in the order of writing.
        max_shard_bytes: Most bytes in one file.

    Returns:
        Names of the tensors by file name, both in order.
    """
    groups: list[list[str]] = []
    size_bytes = 0
    for name, tensor_bytes in tensors.items():
        if not groups or size_bytes + tensor_bytes > max_shard_bytes:
            groups.append([])
            size_bytes = 0
        groups[-1].append(name)
        size_bytes += tensor_bytes
    if len(groups) == 1:
        return {WEIGHTS_NAME: groups[0]}
    return {
        f"model-{number:05}-of-{len(groups):05}.safetensors": names
        for number, names in enumerate(groups, 1)
    }


def _describe_absence(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    for name in names:
        if name.lower().endswith(PICKLES):
            return (
                f"{folder / name} is a pickle, which can run any code when it is read, and is "
                "refused; save the model as safetensors (transformers: save_pretrained)"
            )
    return f"{folder} holds no weights: expected {WEIGHTS_NAME} or {INDEX_NAME}"


def _read_shards(folder: Path) -> dict[str, TensorFile]:
    index = folder / INDEX_NAME
    places = read_json_object(folder, INDEX_NAME).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise CheckpointError(f"{index}: expected a weight_map from tensors to files")
    files: dict[str, TensorFile] = {}
    for name, shard in places.items():
        if shard in files:
            continue
        if not shard.endswith(".safetensors"):
            raise CheckpointError(f"{index}: the tensor {name} is in {shard}, no safetensors file")
        try:
            path = contained_file(folder, shard)
        except CheckpointError as error:
            raise CheckpointError(f"{index}, tensor {name}: {error}") from error
        files[shard] = TensorFile(path)
    found: dict[str, TensorFile] = {}
    for file in files.values():
        for name in file.entries:
            if name in found:
                raise CheckpointError(
                    f"the tensor {name} stands in two files, {found[name].path} and {file.path}"
                )
            if name not in places:
                raise CheckpointError(f"{file.path}: the tensor {name} is not in {INDEX_NAME}")
            found[name] = file
    for name, shard in places.items():
        if found.get(name) is not files[shard]:
            raise CheckpointError(
                f"{files[shard].path}: the tensor {name} is missing, though {INDEX_NAME} names it"
            )
    return found


def _check_head(weights: Mapping[str, TensorSource]) -> None:
    """Refuse an output table that is not the embedding, which Gemma uses for both."""
    head, embedding = weights[HEAD_NAME], weights[EMBEDDING_NAME]
    entries = head.entries[HEAD_NAME], embedding.entries[EMBEDDING_NAME]
    is_same = entries[0].shape == entries[1].shape and entries[0].dtype == entries[1].dtype
    if is_same:
        pairs = zip(head.blocks(HEAD_NAME), embedding.blocks(EMBEDDING_NAME), strict=True)
        is_same = all((first.view("u1") == second.view("u1")).all() for first, second in pairs)
    if not is_same:
        raise CheckpointError(
            f"{head.path}: the tensor {HEAD_NAME} differs from {EMBEDDING_NAME}; Gemma uses one "
            "table for both"
        )
