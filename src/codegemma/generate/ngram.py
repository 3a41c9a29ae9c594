# SPDX-License-Identifier: Apache-2.0
"""The n-gram completer: the baseline that every trained model has to beat.

Reads token sequences, gives an interpolated n-gram model with absolute discounting that completes
from the prefix alone, greedily. It does not see the suffix, does not sample, and keeps its tables
in memory only.

Source: Ney, Essen and Kneser, "On structuring probabilistic dependences in stochastic language
    modelling" (1994), absolute discounting with interpolation.
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int32, Int64, UInt64

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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Order:
    """Successors of every context of one length, contexts in ascending order of their hash."""

    keys: UInt64[np.ndarray, "contexts"]
    starts: Int64[np.ndarray, "contexts_and_end"]
    tokens: Int32[np.ndarray, "pairs"]
    counts: Int32[np.ndarray, "pairs"]


def _hash_contexts(tokens: Int32[np.ndarray, "T"], *, length: int) -> UInt64[np.ndarray, "..."]:
    """Hash the `length` tokens before each position from `length` on (2^-64 per false match)."""
    count = len(tokens) - length
    hashes = np.zeros(max(count, 0), np.uint64)
    for offset in range(length):
        hashes = (hashes + tokens[offset : offset + count].astype(np.uint64) + np.uint64(1)) * (
            _MULTIPLIER
        )
        hashes ^= hashes >> np.uint64(29)
    return hashes


def _count_order(tokens: Int32[np.ndarray, "T"], *, length: int) -> _Order:
    keys = _hash_contexts(tokens, length=length)
    successors = tokens[length:]
    ranks = np.lexsort((successors, keys))
    keys, successors = keys[ranks], successors[ranks]
    is_new_key = np.r_[True, keys[1:] != keys[:-1]]
    is_new_pair = is_new_key | np.r_[True, successors[1:] != successors[:-1]]
    pairs = np.flatnonzero(is_new_pair)
    counts = np.diff(np.r_[pairs, len(keys)]).astype(np.int32)
    starts = np.r_[np.flatnonzero(is_new_key[pairs]), len(pairs)].astype(np.int64)
    return _Order(keys=keys[is_new_key], starts=starts, tokens=successors[pairs], counts=counts)


class NgramModel:
    """Interpolated n-gram probabilities over a vocabulary.

    Args:
        tokens: The training sequence, documents joined by a token of their own.
        vocab_size: Number of ids.
        order: Longest n-gram, at least 2.
        discount: Taken from every count, in (0, 1).
    """

    def __init__(
        self,
        tokens: Int32[np.ndarray, "T"],
        *,
        vocab_size: int,
        order: int = 6,
        discount: float = 0.75,
    ) -> None:
        if order < 2 or len(tokens) <= order:
            raise ConfigError(f"an n-gram model needs order >= 2 and more tokens than {order}")
        self.vocab_size = vocab_size
        self.order = order
        self._discount = discount
        self._orders = [_count_order(tokens, length=length) for length in range(order)]

    def probabilities(self, context: Sequence[int]) -> Float64[np.ndarray, "V"]:
        """Give the distribution of the next token after `context` (its last tokens count)."""
        result = np.full(self.vocab_size, 1.0 / self.vocab_size)
        for length in range(min(self.order - 1, len(context)) + 1):
            recent = np.asarray(context[len(context) - length :], np.int32)
            key = _hash_contexts(np.r_[recent, np.int32(0)].astype(np.int32), length=length)[0]
            table = self._orders[length]
            row = int(np.searchsorted(table.keys, key))
            if row == len(table.keys) or table.keys[row] != key:
                break
            span = slice(table.starts[row], table.starts[row + 1])
            counts = table.counts[span].astype(np.float64)
            total = counts.sum()
            result *= self._discount * len(counts) / total
            result[table.tokens[span]] += (counts - self._discount) / total
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
        self, prompts: Sequence[Prompt], sampling: Sampling
    ) -> list[tuple[Completion, ...]]:
        """Complete each prompt greedily; all `n` completions of a prompt are the same."""
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
    documents: Iterable[Sequence[int]], *, vocab_size: int, order: int = 6
) -> NgramModel:
    """Count n-grams over documents, each closed by `<eos>` so that ends are learned."""
    pieces = [np.r_[np.asarray(tokens, np.int32), np.int32(EOS_ID)] for tokens in documents]
    return NgramModel(np.concatenate(pieces).astype(np.int32), vocab_size=vocab_size, order=order)


def _is_a_completer(completer: NgramCompleter) -> Completer:
    return completer
