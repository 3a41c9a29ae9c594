# SPDX-License-Identifier: Apache-2.0
"""Write a model folder of any known shape with random weights, for measuring what size alone costs.

The tokenizer is a small one in Gemma's layout, filled up with made-up pieces to the size of the
shape's vocabulary. Nothing of the weights is held in memory but the tensor at hand.

Example:
    python benchmarks/random_checkpoint.py codegemma-2b /tmp/random-2b
"""

import argparse
import itertools
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import sentencepiece

from codegemma.model.config import ModelConfig, by_name
from codegemma.model.convert.hf import StoredTensor
from codegemma.model.export import write_checkpoint
from codegemma.model.metadata import Metadata
from codegemma.model.stored import parse_dtype
from codegemma.text.tokens import NUM_RESERVED, trainer_options, whole_pieces

_SEED_VOCABULARY = 700
_CONSONANTS, _VOWELS = "bcdfghjklmnpqrstvwxz", "aeiou"


def write_tokenizer(path: Path, *, vocab_size: int) -> None:
    """Write a `tokenizer.model` in Gemma's layout with exactly `vocab_size` pieces."""
    text = Path(__file__).read_text(encoding="utf-8")
    whole = whole_pieces()
    fixed = NUM_RESERVED + len(whole) + 256
    with path.open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(text.splitlines()),
            model_writer=file,
            vocab_size=max(_SEED_VOCABULARY, fixed + 100),
            minloglevel=2,
            **trainer_options(whole),
        )
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    known = {processor.id_to_piece(token) for token in range(processor.vocab_size())}
    syllables = ["".join(pair) for pair in itertools.product(_CONSONANTS, _VOWELS)]
    words = ("".join(word) for size in (2, 3) for word in itertools.product(syllables, repeat=size))
    new = itertools.islice((word for word in words if word not in known), vocab_size - len(known))
    # The file is one protocol buffer; pieces appended to it extend its list of pieces.
    with path.open("ab") as file:
        for number, word in enumerate(new):
            score = struct.pack("<f", -float(len(known) + number))
            piece = b"\x0a" + bytes([len(word)]) + word.encode() + b"\x15" + score
            file.write(b"\x0a" + bytes([len(piece)]) + piece)


def write_random_checkpoint(
    folder: Path, config: ModelConfig, *, dtype: str = "bfloat16", seed: int = 0
) -> None:
    """Write a folder in Hugging Face's layout with random weights of a sensible size."""
    wanted = parse_dtype(dtype)
    rng = np.random.default_rng(seed)

    def blocks(tensor: StoredTensor) -> Iterator[np.ndarray]:
        rows, *columns = tensor.shape
        scale = tensor.shape[-1] ** -0.5 if columns else 0.1
        step = max(1, (1 << 22) // max(1, columns[0] if columns else 1))
        for start in range(0, rows, step):
            shape = (min(step, rows - start), *columns)
            yield (rng.standard_normal(shape, np.float32) * np.float32(scale)).astype(wanted)

    folder.parent.mkdir(parents=True, exist_ok=True)
    vocabulary = folder.parent / f".{folder.name}-vocabulary"
    vocabulary.mkdir(exist_ok=True)
    try:
        write_tokenizer(vocabulary / "tokenizer.model", vocab_size=config.vocab_size)
        write_checkpoint(
            folder,
            config=config,
            metadata=Metadata(name=config.name),
            blocks=blocks,
            dtype=wanted,
            tokenizer_file=vocabulary / "tokenizer.model",
            layout="hf",
        )
    finally:
        (vocabulary / "tokenizer.model").unlink(missing_ok=True)
        vocabulary.rmdir()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="a model configuration, such as codegemma-2b")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dtype", default="bfloat16")
    arguments = parser.parse_args()
    write_random_checkpoint(arguments.folder, by_name(arguments.name), dtype=arguments.dtype)
    print(f"wrote {arguments.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
