# SPDX-License-Identifier: Apache-2.0
"""The n-gram completer: the baseline that every trained model has to beat.

Reads token sequences, gives an interpolated n-gram model with absolute discounting that completes
from the prefix alone, greedily. It does not see the suffix and does not sample.

Tables take at most 12 bytes for each training token and order, on disk or in memory; counting
takes 24 more for each token, whatever the order. Saved tables are mapped, not read.

Source: Ney, Essen and Kneser, "On structuring probabilistic dependences in stochastic language
    modelling" (1994), absolute discounting with interpolation.
"""

import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int32, UInt64

from codegemma.completion import (
    Completer,
    CompleterInfo,
    Completion,
    Delta,
    Loglikelihood,
    Prompt,
    Sampling,
)
from codegemma.errors import ConfigError
from codegemma.text.tokenizer import Tokenizer
from codegemma.text.tokens import EOS_ID, FILE_SEPARATOR_ID

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_SIZES = "sizes.json"


class Table(NamedTuple):
    """How often each token followed each context of one length.

    Args:
        pairs: The hash of a context, its low bits replaced by the token that followed; ascending.
        counts: How often.
    """

    pairs: UInt64[np.ndarray, " pairs"]
    counts: Int32[np.ndarray, " pairs"]


class NgramModel:
    """Interpolated n-gram probabilities over a vocabulary.

    Args:
        tables: One for each length of a context, from 0.
        vocab_size: Number of ids.
        discount: Taken from every count, in (0, 1).
    """

    def __init__(self, tables: Sequence[Table], *, vocab_size: int, discount: float = 0.75) -> None:
        self.vocab_size = vocab_size
        self.order = len(tables)
        self._tables = tables
        self._discount = discount
        self._token_bits = _token_bits(vocab_size)

    @classmethod
    def count(
        cls, tokens: Int32[np.ndarray, "T"], *, vocab_size: int, order: int = 6
    ) -> "NgramModel":
        """Count the n-grams of a sequence, its documents joined by a token of their own.

        Raises:
            ConfigError: The order is below 2, or there are no more tokens than it.
        """
        if order < 2 or len(tokens) <= order:
            raise ConfigError(f"an n-gram model needs order >= 2 and more tokens than {order}")
        bits = _token_bits(vocab_size)
        tables = [_count_pairs(tokens, length=length, bits=bits) for length in range(order)]
        return cls(tables, vocab_size=vocab_size)

    @classmethod
    def load(cls, folder: Path) -> "NgramModel":
        """Map the tables that `save` wrote."""
        sizes = json.loads((folder / _SIZES).read_text(encoding="utf-8"))
        tables = [
            Table(
                *(np.load(folder / f"{length}-{name}.npy", mmap_mode="r") for name in Table._fields)
            )
            for length in range(sizes["order"])
        ]
        return cls(tables, vocab_size=sizes["vocab_size"])

    def save(self, folder: Path) -> None:
        """Write the tables into a folder that exists."""
        for length, table in enumerate(self._tables):
            for name, values in zip(Table._fields, table, strict=True):
                np.save(folder / f"{length}-{name}.npy", values)
        sizes = {"order": self.order, "vocab_size": self.vocab_size}
        (folder / _SIZES).write_text(json.dumps(sizes), encoding="utf-8")

    def probabilities(self, context: Sequence[int]) -> Float64[np.ndarray, "V"]:
        """Give the distribution of the next token after `context` (its last tokens count)."""
        result = np.full(self.vocab_size, 1.0 / self.vocab_size)
        mask = np.uint64((1 << self._token_bits) - 1)
        for length in range(min(self.order - 1, len(context)) + 1):
            recent = np.asarray([*context[len(context) - length :], 0], np.int32)
            key = _hash_contexts(recent, length=length)[0] & ~mask
            table = self._tables[length]
            span = slice(
                int(np.searchsorted(table.pairs, key)),
                int(np.searchsorted(table.pairs, key | mask, side="right")),
            )
            if span.start == span.stop:
                break
            counts = np.asarray(table.counts[span], np.float64)
            tokens = np.asarray(table.pairs[span] & mask, np.int64)
            total = counts.sum()
            result *= self._discount * len(counts) / total
            result[tokens] += (counts - self._discount) / total
        return result


class NgramCompleter:
    """A completer over an `NgramModel`: greedy, from the prefix alone."""

    def __init__(self, model: NgramModel, *, tokenizer: Tokenizer) -> None:
        self._model = model
        self._tokenizer = tokenizer

    @property
    def tokenizer(self) -> Tokenizer:
        """Its tokenizer."""
        return self._tokenizer

    @property
    def info(self) -> CompleterInfo:
        """What it is."""
        return CompleterInfo(name=f"{self._model.order}-gram", context_length=1 << 30, mode="auto")

    def complete(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        cancel: threading.Event | None = None,
    ) -> list[tuple[Completion, ...]]:
        """Complete each prompt greedily; all `n` completions of a prompt are the same."""
        del cancel
        return [(self._complete_one(prompt, sampling),) * sampling.n for prompt in prompts]

    def stream(
        self, prompt: Prompt, sampling: Sampling, cancel: threading.Event | None = None
    ) -> Iterator[Delta]:
        """Yield the completion as one piece."""
        del cancel
        completion = self._complete_one(prompt, sampling)
        yield Delta(text=completion.text, completion=completion)

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Loglikelihood]:
        """Score each continuation after its context."""
        return [
            self.score(self._tokenizer.encode(context), self._tokenizer.encode(continuation))
            for context, continuation in pairs
        ]

    def score(self, context: Sequence[int], continuation: Sequence[int]) -> Loglikelihood:
        """Score token ids after token ids."""
        tokens = list(context)
        logprob, is_greedy = 0.0, True
        for token in continuation:
            probabilities = self._model.probabilities(tokens[-self._model.order :])
            logprob += float(np.log(probabilities[token]))
            is_greedy = is_greedy and int(probabilities.argmax()) == token
            tokens.append(token)
        return Loglikelihood(logprob=logprob, is_greedy=is_greedy, num_tokens=len(continuation))

    def _complete_one(self, prompt: Prompt, sampling: Sampling) -> Completion:
        if sampling.temperature > 0:
            raise ConfigError("the n-gram completer is greedy: temperature must be 0")
        context = list(prompt.tokens) or self._tokenizer.encode(prompt.prefix)
        num_prompt = len(context)
        drawn: list[int] = []
        text = ""
        finish_reason = "length"
        while len(drawn) < sampling.max_tokens:
            token = int(self._model.probabilities(context[-self._model.order :]).argmax())
            context.append(token)
            drawn.append(token)
            if token in (EOS_ID, FILE_SEPARATOR_ID):
                finish_reason = "stop"
                break
            text = self._tokenizer.decode(drawn)
            found = [text.index(stop) for stop in sampling.stop if stop in text]
            if found:
                text, finish_reason = text[: min(found)], "stop"
                break
        return Completion(
            text=text,
            tokens=tuple(drawn),
            finish_reason=finish_reason,
            prompt_tokens=num_prompt,
        )


def train_ngram(
    documents: Iterable[Sequence[int]],
    *,
    vocab_size: int,
    order: int = 6,
    max_tokens: int | None = None,
) -> NgramModel:
    """Count n-grams over documents, each closed by `<eos>` so that ends are learned.

    Args:
        documents: Token ids, read one after the other.
        vocab_size: Number of ids.
        order: Longest n-gram, at least 2.
        max_tokens: Stop after the document that reaches it; None reads all.
    """
    pieces: list[np.ndarray] = []
    num_tokens = 0
    for document in documents:
        pieces.append(np.asarray([*document, EOS_ID], np.int32))
        num_tokens += len(pieces[-1])
        if max_tokens is not None and num_tokens >= max_tokens:
            break
    return NgramModel.count(np.concatenate(pieces), vocab_size=vocab_size, order=order)


def _token_bits(vocab_size: int) -> int:
    return max(1, (vocab_size - 1).bit_length())


def _hash_contexts(tokens: Int32[np.ndarray, "T"], *, length: int) -> UInt64[np.ndarray, "..."]:
    """Hash the `length` tokens before each position from `length` on."""
    count = len(tokens) - length
    hashes = np.zeros(max(count, 0), np.uint64)
    for offset in range(length):
        hashes += tokens[offset : offset + count].astype(np.uint64)
        hashes += np.uint64(1)
        hashes *= _MULTIPLIER
        hashes ^= hashes >> np.uint64(29)
    return hashes


def _count_pairs(tokens: Int32[np.ndarray, "T"], *, length: int, bits: int) -> Table:
    """Count the pairs of context and token; two contexts are taken for one in 2^(64 - bits)."""
    pairs = _hash_contexts(tokens, length=length)
    pairs &= ~np.uint64((1 << bits) - 1)
    pairs |= tokens[length:].astype(np.uint64)
    pairs.sort()
    starts = np.flatnonzero(np.r_[True, pairs[1:] != pairs[:-1]])
    counts = np.diff(starts, append=len(pairs)).astype(np.int32)
    return Table(pairs=pairs[starts], counts=counts)


def _is_a_completer(completer: NgramCompleter) -> Completer:
    return completer
