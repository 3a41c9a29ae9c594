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
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from codegemma.errors import CheckpointError, ConfigError
from codegemma.kernels.formats import GROUP, LANES, WeightFormat
from codegemma.model.config import ModelConfig
from codegemma.model.convert import hf
from codegemma.model.convert.vocabulary import PieceType, Vocabulary, restore_types
from codegemma.model.ggufile import QUANTISED, READABLE, GgufEntry, GgufFile, Value
from codegemma.model.metadata import Metadata, parse_metadata
from codegemma.text import tokens as t

ARCHITECTURE: Final = "gemma"

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
    raw = file.metadata
    architecture = raw.get("general.architecture")
    if architecture != ARCHITECTURE:
        raise CheckpointError(
            f"{file.path}: expected the architecture 'gemma' (Gemma 1 and CodeGemma), found "
            f"{architecture!r}"
        )
    if raw.get("split.count", 1) not in (0, 1):
        raise CheckpointError(
            f"{file.path} is one of {raw['split.count']} parts; join them with llama-gguf-split "
            "--merge"
        )
    scaling = raw.get("gemma.rope.scaling.type", "none")
    if scaling != "none":
        raise CheckpointError(f"{file.path}: its rotary positions are scaled ({scaling!r})")
    sizes = {ours: raw.get(f"gemma.{theirs}") for ours, theirs in _SIZES.items()}
    if sizes["num_kv_heads"] is None:
        sizes["num_kv_heads"] = sizes["num_heads"]
    numbers: dict[str, Any] = {
        "rope_theta": raw.get(_THETA, 10_000.0),
        "norm_eps": raw.get(_EPSILON, 1e-6),
    }
    faults = [
        f"gemma.{_SIZES[key]} must be a whole number, not {value!r}"
        for key, value in sizes.items()
        if type(value) is not int
    ]
    faults += [f"{key} must be a number" for key, v in numbers.items() if type(v) is not float]
    if faults:
        raise CheckpointError(f"{file.path}: " + "; ".join(faults))
    try:
        # As float32 the file holds 1e-6 inexactly.
        rounded = {key: float(f"{value:.7g}") for key, value in numbers.items()}
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
    if len(kinds) != 1 or any(t.shape[0] % LANES or t.shape[1] % GROUP for t in matrices):
        return None
    return QUANTISED.get(kinds.pop())


def parse_vocabulary(file: GgufFile) -> Vocabulary:
    """Read the pieces, their types those of Gemma's layout.

    Raises:
        CheckpointError: They are no SentencePiece vocabulary, or the three lists do not match.
    """
    raw = file.metadata
    model = raw.get("tokenizer.ggml.model")
    pieces = raw.get("tokenizer.ggml.tokens")
    scores = raw.get("tokenizer.ggml.scores")
    types = raw.get("tokenizer.ggml.token_type")
    if model != "llama" or not isinstance(pieces, list):
        raise CheckpointError(
            f"{file.path}: expected a SentencePiece vocabulary (tokenizer.ggml.model 'llama'), "
            f"found {model!r}"
        )
    for found, what in ((scores, "scores"), (types, "token_type")):
        if not isinstance(found, np.ndarray) or len(found) != len(pieces):
            raise CheckpointError(
                f"{file.path}: expected one of tokenizer.ggml.{what} for each of the "
                f"{len(pieces)} pieces"
            )
    assert isinstance(scores, np.ndarray)
    assert isinstance(types, np.ndarray)
    if not np.isfinite(scores).all() or types.min(initial=1) < 1 or types.max(initial=1) > 6:
        raise CheckpointError(f"{file.path}: a piece has a score or type that is none")
    found = restore_types(
        Vocabulary(pieces=pieces, scores=scores.tolist(), types=types.astype(int).tolist())
    )
    return _respell(found, " ", t.SPACE)


def parse_own(file: GgufFile) -> Metadata:
    """Read what the file says of the model: our own key, else name and licence.

    Raises:
        CheckpointError: Our own key is there and is not valid.
    """
    raw = file.metadata
    own = raw.get(_METADATA_KEY)
    if isinstance(own, str):
        try:
            found = json.loads(own)
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{file.path}: its {_METADATA_KEY} is not JSON") from error
        return parse_metadata(found, place=f"{file.path}, {_METADATA_KEY}")
    names = [raw.get("general.name"), file.path.stem]
    words = " ".join(str(name).lower().replace("_", "-") for name in names if name)
    licence = raw.get("general.license")
    return Metadata(
        name=file.path.stem,
        is_instruction="-it" in words.replace(" it", "-it") or "instruct" in words,
        licence=licence.lower() if isinstance(licence, str) else None,
    )


def notices(file: GgufFile) -> dict[str, str]:
    """Give the licences and notices that a file of ours carries, text by file name."""
    return {
        key.removeprefix(_NOTICE_KEY): value
        for key, value in file.metadata.items()
        if key.startswith(_NOTICE_KEY) and isinstance(value, str)
    }


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
