# SPDX-License-Identifier: Apache-2.0
"""The n-gram baseline: a 6-gram model with backoff of the text that nano was trained on.

It reads the prefix alone, and is given what helps it: line ends before the cursor and the
indentation after it are one token where the vocabulary has one, and its chance that a middle ends
after a token is learned from middles as the recipe cuts them. So its likelihood covers the same as
nano's, the line and the end of the middle.

Tables are kept in the user's cache folder under a hash of what they were counted from, and mapped
by later runs. At most `MAX_TOKENS` tokens are counted, in the order of the shards, which is random.
"""

import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64

from codegemma.data.loader import ShardReader, encode_record
from codegemma.data.manifest import read_recipe
from codegemma.data.shards import Record
from codegemma.generate.ngram import NgramModel, train_ngram
from codegemma.model.folder import atomic_folder, cache_folder
from codegemma.text.fim import encode_whole
from codegemma.text.tokenizer import Tokenizer
from codegemma.text.tokens import FILE_SEPARATOR_ID
from codegemma.train.input import middle_mask
from heldout_lines import Line, read_records

ORDER = 6
MAX_TOKENS = 64_000_000
_END_RECORDS = 4000
_CONTEXT_CHARS = 400
_LINE_TOKENS = 128


class Baseline:
    """The n-gram model of some training data.

    Args:
        data: Output folder of `codegemma prepare`.
        tokenizer: Vocabulary to count in.
    """

    name = f"{ORDER}-gram"

    def __init__(self, data: Path, *, tokenizer: Tokenizer) -> None:
        reader = ShardReader(data, "train")
        self._tokenizer = tokenizer
        self._bytes = [tokenizer.token_bytes(token) for token in range(tokenizer.vocab_size)]
        self._starts: dict[bytes, Bool[np.ndarray, " V"]] = {}
        self._model = load_or_count(reader, tokenizer)
        records = [reader[index] for index in range(min(len(reader), _END_RECORDS))]
        self._ends = end_probabilities(records, tokenizer=tokenizer, data=data)

    def complete(self, line: Line) -> str:
        """Draw a line greedily, without its end."""
        context, newlines = self._context(line)
        drawn: list[int] = []
        text = b""
        while len(drawn) < _LINE_TOKENS:
            probabilities = self._model.probabilities([*context, *drawn][-ORDER:])
            if newlines and not drawn:
                probabilities = probabilities * self._starting_with(newlines)
            drawn.append(int(probabilities.argmax()))
            text += self._bytes[drawn[-1]]
            found = text.removeprefix(newlines)
            if b"\n" in found or not self._bytes[drawn[-1]]:
                break
        return text.removeprefix(newlines).split(b"\n", 1)[0].decode(errors="replace")

    def middle_nll(self, lines: Iterable[Line]) -> Float64[np.ndarray, " lines"]:
        """Nats of each line after its prefix, and of ending there."""
        return np.array([self._score(line) for line in lines])

    def _score(self, line: Line) -> float:
        context, newlines = self._context(line)
        body = line.middle.removesuffix("\n")
        tokens = self._tokenizer.encode(newlines.decode() + body)
        chances: list[float] = []
        for place, token in enumerate(tokens):
            probabilities = self._model.probabilities(context[-ORDER:])
            if place:
                chances.append(1 - self._ends[tokens[place - 1]])
            elif newlines:
                probabilities /= max(probabilities @ self._starting_with(newlines), 1e-12)
            chances.append(min(1.0, probabilities[token]))
            context.append(token)
        if body != line.middle:
            chances.append(1 - self._ends[tokens[-1]])
            chances.append(
                float(self._model.probabilities(context[-ORDER:]) @ self._starting_with(b"\n"))
            )
            tokens = self._tokenizer.encode("\n")
        chances.append(self._ends[tokens[-1]])
        return -float(np.log(chances).sum())

    def _context(self, line: Line) -> tuple[list[int], bytes]:
        """Tokens before the line ends that stand before the cursor, and those line ends."""
        text = line.prefix[-_CONTEXT_CHARS:]
        stripped = text.rstrip("\n")
        return self._tokenizer.encode(stripped), text[len(stripped) :].encode()

    def _starting_with(self, head: bytes) -> Bool[np.ndarray, " V"]:
        if head not in self._starts:
            self._starts[head] = np.array([piece.startswith(head) for piece in self._bytes])
        return self._starts[head]


def end_probabilities(
    records: Iterable[Record], *, tokenizer: Tokenizer, data: Path
) -> Float64[np.ndarray, " V"]:
    """Chance that a middle ends after each token, from middles of the recipe's first epoch.

    A token that was seen ten times in middles is half its own, half the mean of all.
    """
    recipe = read_recipe(data)
    seen = np.zeros(tokenizer.vocab_size)
    last = np.zeros(tokenizer.vocab_size)
    for record in records:
        tokens = encode_record(record, tokenizer=tokenizer, recipe=recipe, seed=0, epoch=0)
        is_middle = middle_mask(tokens)
        is_end = is_middle & (tokens == FILE_SEPARATOR_ID)
        is_text = is_middle & ~is_end
        np.add.at(seen, tokens[is_text], 1)
        np.add.at(last, tokens[:-1][is_text[:-1] & is_end[1:]], 1)
    mean = (last.sum() + 0.5) / (seen.sum() + 1)
    return (last + 10 * mean) / (seen + 10)


def load_or_count(reader: ShardReader, tokenizer: Tokenizer) -> NgramModel:
    shards = "".join(entry["sha256"] for entry in reader.manifest["shards"]["train"])
    identity = f"{shards}/{tokenizer.fingerprint}/{ORDER}/{MAX_TOKENS}"
    root = cache_folder() / "ngram"
    folder = root / hashlib.sha256(identity.encode()).hexdigest()[:32]
    if not folder.is_dir():
        documents = (
            encode_whole(tokenizer, file.text, path=file.path)
            for record in read_records(reader)
            for file in record.files
        )
        vocab_size = tokenizer.vocab_size
        model = train_ngram(documents, vocab_size=vocab_size, order=ORDER, max_tokens=MAX_TOKENS)
        shutil.rmtree(root, ignore_errors=True)  # of other data: hundreds of megabytes
        with atomic_folder(folder) as partial:
            model.save(partial)
    return NgramModel.load(folder)
