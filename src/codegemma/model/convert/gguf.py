# SPDX-License-Identifier: Apache-2.0
"""Gemma in GGUF: what llama.cpp calls its sizes, tensors and vocabulary, both ways.

The tensors are those of the Hugging Face layout under other names, in the same order of axes; the
queries' and keys' rows are not permuted, since llama.cpp turns the halves of Gemma's heads as
transformers does. A norm is stored as the scale itself, 1 + w, in float32. What else we know of a
model, and the licences that travel with it, are keys of our own, which other readers pass over.

Source: llama.cpp's conversion script and loader for the architecture "gemma".
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

import numpy as np

from codegemma.errors import CheckpointError, ConfigError
from codegemma.kernels.formats import GROUP, WeightFormat
from codegemma.model.config import ModelConfig
from codegemma.model.convert import hf
from codegemma.model.convert.vocabulary import PieceType, Vocabulary, restore_types
from codegemma.model.ggufile import QUANTISED, READABLE, GgufEntry, GgufFile, Value, describe
from codegemma.model.metadata import Metadata, parse_metadata
from codegemma.text import tokens as t

ARCHITECTURE: Final = "gemma"

_KINDS: Final = {int: "a whole number", float: "a number", str: "text", list: "a list of texts"}
_METADATA_KEY: Final = "codegemma.metadata"
_NOTICE_KEY: Final = "codegemma.notice."
_SIZES: Final = {
    "width": "embedding_length",
    "ffw_dim": "feed_forward_length",
    "num_layers": "block_count",
    "num_heads": "attention.head_count",
    "num_kv_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "context_length": "context_length",
}
_EPSILON: Final = "gemma.attention.layer_norm_rms_epsilon"
_THETA: Final = "gemma.rope.freq_base"
_SINGLES: Final = {
    hf.EMBEDDING_NAME: "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    hf.HEAD_NAME: "output.weight",
}
_PARTS: Final = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_FILE_TYPES: Final = {"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 7, "BF16": 32}
_TOKENS: Final = {
    "bos_token_id": t.BOS_ID,
    "eos_token_id": t.EOS_ID,
    "unknown_token_id": t.UNK_ID,
    "padding_token_id": t.PAD_ID,
    "fim_pre_token_id": t.FIM_PREFIX_ID,
    "fim_suf_token_id": t.FIM_SUFFIX_ID,
    "fim_mid_token_id": t.FIM_MIDDLE_ID,
    "fim_sep_token_id": t.FILE_SEPARATOR_ID,
    "eot_token_id": t.END_OF_TURN_ID,
}


class GgufWeights:
    """A GGUF file's tensors under the names, and with the values, of the Hugging Face layout.

    Args:
        file: The file.

    Attributes:
        entries: The tensors by name; one that is none of Gemma's keeps its own.
    """

    readable: ClassVar[Collection[str]] = READABLE

    def __init__(self, file: GgufFile) -> None:
        self._file = file
        self._names = {_from_gguf(name): name for name in file.entries}
        self.entries: Mapping[str, GgufEntry] = {
            name: file.entries[theirs] for name, theirs in self._names.items()
        }

    @property
    def path(self) -> Path:
        """The file."""
        return self._file.path

    def blocks(self, name: str, *, num_rows: int | None = None) -> Iterator[np.ndarray]:
        """Yield a tensor in order, as blocks of whole rows; each is valid until the next.

        Raises:
            CheckpointError: The file changed or ended early, or a value is NaN or Inf.
        """
        for block in self._file.blocks(self._names[name], num_rows=num_rows):
            yield block.astype(np.float32) - np.float32(1) if _is_norm(name) else block

    def quantised_blocks(
        self, name: str, *, num_rows: int | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield a matrix's quantised values and their scales, as `GgufFile.quantised_blocks`.

        Raises:
            CheckpointError: The file changed or ended early, or a scale is NaN or Inf.
        """
        return self._file.quantised_blocks(self._names[name], num_rows=num_rows)

    def check_unchanged(self) -> None:
        """Refuse a file that is no longer the one whose header was read.

        Raises:
            CheckpointError: It was changed, replaced or removed.
        """
        self._file.check_unchanged()


def parse_config(file: GgufFile, *, name: str) -> ModelConfig:
    """Read the sizes of a Gemma 1 model; the vocabulary's is the number of its pieces.

    Raises:
        CheckpointError: It is another architecture, one part of several, or a size is missing.
    """
    architecture = _value(file, "general.architecture", str)
    if architecture != ARCHITECTURE:
        raise CheckpointError(
            f"{file.path}: expected the architecture 'gemma' (Gemma 1 and CodeGemma), found "
            f"{describe(architecture)}"
        )
    num_parts = _value(file, "split.count", int) or 0
    if num_parts not in (0, 1):
        raise CheckpointError(
            f"{file.path} is one of {num_parts} parts; join them with llama-gguf-split --merge"
        )
    scaling = _value(file, "gemma.rope.scaling.type", str)
    if scaling not in (None, "none"):
        raise CheckpointError(f"{file.path}: its rotary positions are scaled ({describe(scaling)})")
    sizes = {ours: _value(file, f"gemma.{theirs}", int) for ours, theirs in _SIZES.items()}
    if sizes["num_kv_heads"] is None:
        sizes["num_kv_heads"] = sizes["num_heads"]
    if missing := [f"gemma.{_SIZES[key]}" for key, value in sizes.items() if value is None]:
        raise CheckpointError(f"{file.path}: its metadata lacks {', '.join(missing)}")
    numbers = {
        "rope_theta": _value(file, _THETA, float),
        "norm_eps": _value(file, _EPSILON, float),
    }
    # As float32 the file holds 1e-6 inexactly.
    rounded: dict[str, Any] = {
        key: float(f"{value:.7g}") for key, value in numbers.items() if value is not None
    }
    try:
        vocab_size = len(parse_vocabulary(file).pieces)
        return ModelConfig(name=name, vocab_size=vocab_size, **sizes, **rounded)  # pyright: ignore[reportArgumentType]  # checked above
    except ConfigError as error:
        raise CheckpointError(f"{file.path}: {error}") from error


def find_format(config: ModelConfig, weights: GgufWeights) -> WeightFormat | None:
    """Give the format of our kernels that the matrices of all layers are in; None where none is.

    What type the embedding has does not matter: it becomes int8 if it is not.
    """
    matrices = [tensor for tensor in hf.stored_tensors(config) if tensor.is_matrix]
    kinds = {
        weights.entries[tensor.name].dtype
        for tensor in matrices
        if tensor.name != hf.EMBEDDING_NAME
    }
    if len(kinds) != 1 or any(tensor.shape[1] % GROUP for tensor in matrices):
        return None
    return QUANTISED.get(kinds.pop())


def parse_vocabulary(file: GgufFile) -> Vocabulary:
    """Read the pieces, their types those of Gemma's layout.

    Raises:
        CheckpointError: They are no SentencePiece vocabulary, or the three lists do not match.
    """
    model = _value(file, "tokenizer.ggml.model", str)
    pieces = _value(file, "tokenizer.ggml.tokens", list)
    if model != "llama" or pieces is None:
        raise CheckpointError(
            f"{file.path}: expected a SentencePiece vocabulary (tokenizer.ggml.model 'llama'), "
            f"found {describe(model)}"
        )
    scores, types = (
        _numbers(file, f"tokenizer.ggml.{what}", kinds=kinds, count=len(pieces))
        for what, kinds in (("scores", "f"), ("token_type", "iu"))
    )
    with np.errstate(over="ignore"):
        scores = scores.astype(np.float32)
    if not np.isfinite(scores).all() or types.min(initial=1) < 1 or types.max(initial=1) > 6:
        raise CheckpointError(f"{file.path}: a piece has a score or type that is none")
    found = restore_types(
        Vocabulary(pieces=pieces, scores=scores.tolist(), types=types.astype(int).tolist())
    )
    return _respell(found, " ", t.SPACE)


def parse_own(file: GgufFile) -> Metadata:
    """Read what the file says of the model: our own key, else name and licence.

    Raises:
        CheckpointError: A key is there and is not valid.
    """
    own = _value(file, _METADATA_KEY, str)
    if own is not None:
        try:
            found = json.loads(own)
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{file.path}: its {_METADATA_KEY} is not JSON") from error
        if not isinstance(found, dict):
            raise CheckpointError(f"{file.path}: expected a JSON object as {_METADATA_KEY}")
        metadata = parse_metadata(found, place=f"{file.path}, {_METADATA_KEY}")
        return replace(metadata, weights=None)  # the tensors say what they are
    names = [_value(file, "general.name", str), file.path.stem]
    words = " ".join(name.lower().replace("_", "-") for name in names if name)
    licence = _value(file, "general.license", str)
    return Metadata(
        name=file.path.stem,
        is_instruction="-it" in words.replace(" it", "-it") or "instruct" in words,
        licence=licence.lower() if licence else None,
    )


def notices(file: GgufFile) -> dict[str, str]:
    """Give the licences and notices that a file of ours carries, text by file name.

    Raises:
        CheckpointError: One of them is no text.
    """
    keys = [key for key in file.metadata if key.startswith(_NOTICE_KEY)]
    return {key.removeprefix(_NOTICE_KEY): _value(file, key, str) or "" for key in keys}


def render_metadata(
    config: ModelConfig,
    *,
    metadata: Metadata,
    vocabulary: Vocabulary,
    notices: Mapping[str, str],
    kind: str,
) -> dict[str, Value]:
    """Give the metadata of a file whose matrices are of type `kind`."""
    sizes = {f"gemma.{theirs}": getattr(config, ours) for ours, theirs in _SIZES.items()}
    return {
        "general.name": metadata.name,
        **({"general.license": metadata.licence} if metadata.licence else {}),
        "general.file_type": _FILE_TYPES[kind],
        "general.quantization_version": 2,
        **sizes,
        "gemma.attention.value_length": config.head_dim,
        _EPSILON: config.norm_eps,
        _THETA: config.rope_theta,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": list(_respell(vocabulary, t.SPACE, " ").pieces),
        "tokenizer.ggml.scores": np.asarray(vocabulary.scores, np.float32),
        "tokenizer.ggml.token_type": np.asarray(vocabulary.types, np.int32),
        **{f"tokenizer.ggml.{name}": token for name, token in _TOKENS.items()},
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.ggml.add_space_prefix": False,
        _METADATA_KEY: json.dumps(metadata.raw),
        **{f"{_NOTICE_KEY}{name}": text for name, text in notices.items()},
    }


def plan_tensors(config: ModelConfig, *, kind: str) -> dict[str, tuple[tuple[int, ...], str]]:
    """Give shape and type of every tensor under its Hugging Face name, in the order of writing.

    Norms are F32. Where matrices are Q4_0 the embedding, which is the output layer too, is Q8_0.
    A matrix whose rows a quantised type does not divide is F16.
    """
    planned: dict[str, tuple[tuple[int, ...], str]] = {}
    for tensor in hf.stored_tensors(config):
        chosen = kind
        if _is_norm(tensor.name):
            chosen = "F32"
        elif kind in ("Q8_0", "Q4_0") and tensor.shape[-1] % 32:
            chosen = "F16"
        elif kind == "Q4_0" and tensor.name == hf.EMBEDDING_NAME:
            chosen = "Q8_0"
        planned[tensor.name] = (tensor.shape, chosen)
    return planned


def to_gguf(name: str) -> str:
    """Give llama.cpp's name of a tensor of the Hugging Face layout."""
    if name in _SINGLES:
        return _SINGLES[name]
    _, _, layer, *part, kind = name.split(".")
    return f"blk.{layer}.{_PARTS['.'.join(part)]}.{kind}"


def to_stored(block: np.ndarray, name: str) -> np.ndarray:
    """Give a block as GGUF stores it: a norm as 1 + w in float32, others as they are."""
    return block.astype(np.float32) + np.float32(1) if _is_norm(name) else block


_T = TypeVar("_T")


def _value(file: GgufFile, key: str, kind: type[_T]) -> _T | None:
    """Give a value of the metadata, which is of that type and no other; None where it is missing.

    Whoever writes the file chooses the type, so nothing is done with a value that is not asked for.
    """
    value = file.metadata.get(key)
    if value is None or (isinstance(value, kind) and not isinstance(value, bool)):
        return value
    raise CheckpointError(
        f"{file.path}: expected {key} to be {_KINDS[kind]}, found {describe(value)}"
    )


def _numbers(file: GgufFile, key: str, *, kinds: str, count: int) -> np.ndarray:
    """Give a list of so many numbers, of the kinds of numpy's dtypes."""
    value = file.metadata.get(key)
    if isinstance(value, np.ndarray) and value.dtype.kind in kinds and len(value) == count:
        return value
    raise CheckpointError(
        f"{file.path}: expected one of {key} for each of the {count} pieces, found "
        f"{describe(value)}"
    )


def _respell(vocabulary: Vocabulary, old: str, new: str) -> Vocabulary:
    """Spell the spaces of pieces kept whole anew: llama.cpp looks for those in the raw text."""
    pieces = [
        piece.replace(old, new) if kind == PieceType.USER_DEFINED else piece
        for piece, kind in zip(vocabulary.pieces, vocabulary.types, strict=True)
    ]
    return Vocabulary(pieces=pieces, scores=vocabulary.scores, types=vocabulary.types)


def _from_gguf(name: str) -> str:
    for ours, theirs in _SINGLES.items():
        if name == theirs:
            return ours
    match name.split("."):
        case ["blk", layer, part, kind] if part in _PARTS.values():
            ours = next(ours for ours, theirs in _PARTS.items() if theirs == part)
            return f"model.layers.{layer}.{ours}.{kind}"
    return name


def _is_norm(name: str) -> bool:
    return name.endswith("norm.weight")
