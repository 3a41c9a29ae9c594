# SPDX-License-Identifier: Apache-2.0
"""The completer that runs a model in this process.

Takes prompts and gives completions, streams, log likelihoods and logits. It renders prompts
(`text`), forms batches of similar length and hands them to `batch.py`; it never touches a drawn
text beyond its end: shortening is `trimmed.py`'s part.

Same weights, prompt, settings and seed give the same text, alone or in a batch: in float32 up to
rounding, which may flip an exact tie.
"""

import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from codegemma.completion import CompleterInfo, Completion, Delta, Loglikelihood, Prompt, Sampling
from codegemma.errors import ContextLengthError, InputError
from codegemma.generate import programs
from codegemma.generate.ahead import compile_ahead
from codegemma.generate.batch import Batch
from codegemma.generate.lengths import (
    PIECE_LENGTHS,
    cache_length,
    only_length,
    piece_length,
    row_bucket,
)
from codegemma.generate.prefix_cache import Owner, PrefixCache
from codegemma.generate.rows import Piece, Request
from codegemma.generate.shared import SharedBatch
from codegemma.generate.speculation import (
    NUM_AROUND,
    Credit,
    Drafter,
    Recent,
    places_for,
    prefix_tokens,
)
from codegemma.generate.weights import Weights, empty_cache, row_bytes
from codegemma.kernels import native
from codegemma.kernels.weights import ChannelWeight, QuantisedWeight
from codegemma.model.cache import BFLOAT16_BITS
from codegemma.model.config import ModelConfig
from codegemma.model.params import Params, unstack_layers
from codegemma.text.budget import fit_prompt
from codegemma.text.tokenizer import Tokenizer
from codegemma.text.tokens import BOS_ID, CHAT_STOP_IDS, INFILL_STOP_IDS

INSTRUCTION_MODEL: Final = "codegemma-1.1-7b-it"
"""The model to name where one for conversations is needed."""

_MAX_ROWS: Final = 16, 64  # on a CPU, and on an accelerator
_CACHE_BYTES: Final = 1 << 30  # on a CPU, and where an accelerator does not say what it has


class Engine:
    """A Completer on weights in memory. Thread-safe; requests take turns on the device.

    Args:
        params: Weights in the tree of `params.py`; on a CPU they are used in place, not copied,
            where their dtype is `dtype`.
        config: Sizes.
        tokenizer: The model's vocabulary.
        info: What the completer says of itself; its `mode` is what "auto" stands for.
        dtype: Activation dtype; weights are converted to it unless they are quantised. With
            those, keys and values are kept in bfloat16.
        is_for_one: Whether the first prompt is read in pieces of one length, which spares a
            process that asks once a program, and rounds otherwise than later prompts are.
        is_speculative: Whether single completions are drawn several tokens at a time where they
            repeat what is known; the text is the same, up to rounding.
        prefix_cache_bytes: Most bytes of keys and values kept for later requests. With some, a
            text may depend on the requests before it by rounding, which a measurement excludes.
        max_rows: Most completions drawn together; None is 16 on a CPU, 64 on an accelerator.
        cache_bytes: Most bytes of keys and values of those; None is 1 GiB on a CPU, half of what
            the weights leave free on an accelerator. One row has room whatever it takes.
    """

    def __init__(
        self,
        params: Params,
        *,
        config: ModelConfig,
        tokenizer: Tokenizer,
        info: CompleterInfo,
        dtype: Any = np.float32,
        is_for_one: bool = True,
        is_speculative: bool = False,
        prefix_cache_bytes: int = 0,
        max_rows: int | None = None,
        cache_bytes: int | None = None,
    ) -> None:
        dtype = np.dtype(dtype)
        on_cpu = jax.devices()[0].platform == "cpu"
        self._tokenizer = tokenizer
        self._info = info
        self._weights = Weights(
            params=_place(params, dtype=dtype, on_cpu=on_cpu),
            config=config,
            dtype=dtype,
            cache_dtype=_cache_dtype(params, dtype=dtype, on_cpu=on_cpu),
            lock=threading.Lock(),
        )
        self._was_asked = not is_for_one
        self._kept = PrefixCache(max_bytes=prefix_cache_bytes)
        self._most_rows = _MAX_ROWS[not on_cpu] if max_rows is None else max_rows
        self._cache_bytes = _free_bytes() if cache_bytes is None else cache_bytes
        path = native.choose_path() if _is_quantised(params) else None
        self._recent = Recent(credit=Credit(path)) if is_speculative else None
        self._shared = SharedBatch(
            Batch(
                self._weights,
                tokenizer,
                max_rows=self._max_rows,
                ranks=lambda: self._byte_ranks,
                kept=self._kept if self._kept.max_bytes else None,
            )
        )

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's vocabulary."""
        return self._tokenizer

    @property
    def info(self) -> CompleterInfo:
        """What it is."""
        return self._info

    @property
    def prefix_cache(self) -> PrefixCache:
        """What it keeps of earlier requests."""
        return self._kept

    @property
    def config(self) -> ModelConfig:
        """The model's sizes."""
        return self._weights.config

    def complete(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        cancel: threading.Event | None = None,
    ) -> list[tuple[Completion, ...]]:
        """Complete each prompt `sampling.n` times; results stand in the order of the prompts.

        Setting `cancel` ends what is not complete with "cancelled".

        Raises:
            ContextLengthError: A prompt that is not infill leaves no room for a token.
            InputError: A prompt cannot be rendered, or is a conversation and the model takes none.
        """
        requests = [self._request(prompt, sampling) for prompt in prompts]
        order = sorted(range(len(requests)), key=lambda index: -requests[index].num_slots)
        found: dict[tuple[int, int], Completion] = {}
        # Those of similar length together, since the longest decides how many have room.
        for piece in self._draw([requests[index] for index in order], sampling, cancel=cancel):
            if piece.completion is not None:
                found[order[piece.request], piece.sample] = piece.completion
        samples = range(sampling.n)
        return [tuple(found[index, sample] for sample in samples) for index in range(len(prompts))]

    def stream(
        self, prompt: Prompt, sampling: Sampling, cancel: threading.Event | None = None
    ) -> Iterator[Delta]:
        """Yield text as it is drawn; setting `cancel` ends it with "cancelled".

        The pieces of one sample, joined, are the text of its completion.

        Raises:
            ContextLengthError: The prompt is not infill and leaves no room for a token.
            InputError: The prompt cannot be rendered, or is a conversation and the model takes
                none.
        """
        request = self._request(prompt, sampling)
        return (
            Delta(text=piece.text, index=piece.sample, completion=piece.completion)
            for piece in self._draw([request], sampling, cancel=cancel, is_watched=True)
        )

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Loglikelihood]:
        """Score continuations given contexts, after one `<bos>`.

        Context and continuation are encoded together and cut where the context's own ids end,
        after moving its trailing spaces to the continuation: the convention of lm-eval-harness.
        Where a token spans the border, they are encoded apart. A context that is too long loses
        its head.
        """
        encoded = [self._encode_pair(*pair) for pair in pairs]
        scored = self.score([(context, continuation) for context, continuation, _ in encoded])
        return [
            replace(result, is_cut=is_cut)
            for result, (_, _, is_cut) in zip(scored, encoded, strict=True)
        ]

    def score(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Loglikelihood]:
        """Score continuations given contexts, both as ids; a context holds at least one.

        Raises:
            ContextLengthError: A pair is longer than the model's context.
            InputError: A context is empty, or an id is outside the vocabulary.
        """
        for context, continuation in pairs:
            self._check_tokens([*context, *continuation])
            if not context:
                raise InputError("a scored context needs at least one token, such as <bos>")
            self._check_length(len(context) + len(continuation), "context and continuation have")
        # What is read before the last token, and the pairs that end it: the answers to a question
        # of one token each share one row.
        rows: dict[tuple[int, ...], list[int]] = {}
        for index, (context, continuation) in enumerate(pairs):
            tokens = (*context, *continuation)
            rows.setdefault(tokens[:-1] if continuation else tokens, []).append(index)
        order = sorted(rows, key=len)
        max_rows = self._max_rows(max(map(len, rows), default=0))
        found: dict[int, Loglikelihood] = {}
        for start in range(0, len(order), max_rows):
            group = order[start : start + max_rows]
            found |= self._score_rows({row: rows[row] for row in group}, pairs)
        return [found[index] for index in range(len(pairs))]

    def logits(self, tokens: Sequence[int]) -> np.ndarray:
        """Give the logits after each of the given ids, float32 [T, V].

        Raises:
            ContextLengthError: There are more ids than the model's context holds.
            InputError: There are none, or one is outside the vocabulary.
        """
        self._check_tokens(tokens)
        self._check_length(len(tokens), "there are")
        if not tokens:
            raise InputError("expected at least one token, found none")
        cache = empty_cache(self._weights, num_rows=1, num_tokens=len(tokens))
        parts: list[np.ndarray] = []
        for piece, counts in _pieces([tokens], num_rows=1):
            with self._weights.lock:
                logits, cache = programs.read_logits(
                    self._weights.params,
                    piece,
                    cache,
                    num_tokens=counts,
                    config=self._weights.config,
                    dtype=self._weights.dtype,
                )
                parts.append(np.asarray(logits)[0, : counts[0]])
        return np.concatenate(parts)

    def compile_ahead(self) -> Iterator[str]:
        """Compile what later requests are likely to need, a program with each step.

        Requests go on meanwhile; see `ahead.py` for which programs these are.
        """
        return compile_ahead(
            self._weights,
            table=self._tokenizer.byte_table,
            ranks=self._byte_ranks,
            max_rows=self._max_rows,
        )

    def _request(self, prompt: Prompt, sampling: Sampling) -> Request:
        if prompt.turns and not self._info.is_instruction:
            raise InputError(
                f"{self._info.name} completes code and holds no conversations; pull an "
                f"instruction model: codegemma pull {INSTRUCTION_MODEL}"
            )
        prompt = fit_prompt(prompt, sampling, tokenizer=self._tokenizer, info=self._info)
        self._check_tokens(prompt.tokens)
        typed = prompt.typed.encode()
        room = self._info.context_length - len(prompt.tokens)
        return Request(
            tokens=prompt.tokens,
            max_tokens=min(sampling.max_tokens, room),
            typed=typed,
            seam=prompt.seam,
            max_drawn=min(sampling.max_tokens + len(typed), room),
            stop_ids=CHAT_STOP_IDS if self._info.is_instruction else INFILL_STOP_IDS,
            cut=prompt.cut,
            owner=Owner(prompt.namespace, prompt.session),
        )

    def _draw(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        *,
        cancel: threading.Event | None,
        is_watched: bool = False,
    ) -> Iterator[Piece]:
        """Draw requests together, and remember what was drawn for the guesses of later ones."""
        if not requests:
            return
        drafter = None
        if self._recent is not None and self._was_asked and len(requests) == 1:
            (request,) = requests
            drafter = Drafter(
                request.tokens,
                self._recent.of(request.owner.namespace),
                credit=self._recent.credit,
                places=places_for(self._weights.config),
            )
        # A process that asks once has one program less to load if all pieces have one length.
        only = only_length(max(len(request.tokens) for request in requests))
        piece_lengths = PIECE_LENGTHS if self._was_asked else (only,)
        self._was_asked = True
        for piece in self._shared.draw(
            requests,
            sampling=sampling,
            seed=_seed(sampling),
            cancel=cancel,
            is_watched=is_watched,
            drafter=drafter,
            piece_lengths=piece_lengths,
        ):
            yield piece
            if piece.completion is not None and self._recent is not None:
                request = requests[piece.request]
                text = [*prefix_tokens(request.tokens)[-NUM_AROUND:], *piece.completion.tokens]
                self._recent.put(text, namespace=request.owner.namespace)

    @cached_property
    def _byte_ranks(self) -> Any:
        ranks = np.full(self._weights.config.vocab_size, -1, np.int32)
        known = self._tokenizer.byte_table.rank
        ranks[: len(known)] = known
        return jax.device_put(ranks)

    def _max_rows(self, num_tokens: int) -> int:
        """Rows whose caches of `num_tokens` stay within the memory for them; at least 1."""
        config = self._weights.config
        length = cache_length(num_tokens, context_length=config.context_length)
        size = row_bytes(config, num_slots=length, itemsize=self._weights.cache_dtype.itemsize)
        return max(1, min(self._most_rows, self._cache_bytes // size))

    def _score_rows(
        self,
        sharing: Mapping[tuple[int, ...], Sequence[int]],
        pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    ) -> dict[int, Loglikelihood]:
        """Score the pairs whose indices stand behind what is read for them."""
        rows = list(sharing)
        num_rows = row_bucket(len(rows))
        num_ends = row_bucket(max(map(len, sharing.values())))
        cache = empty_cache(self._weights, num_rows=num_rows, num_tokens=max(map(len, rows)))
        # The token at position t is predicted at position t - 1; the last one differs by pair.
        ends = [
            [[*row[1:], pairs[index][1][-1] if pairs[index][1] else 0] for index in sharing[row]]
            for row in rows
        ]
        logprobs: list[np.ndarray] = []
        is_best: list[np.ndarray] = []
        pieces = [
            _pieces([each[min(end, len(each) - 1)] for each in ends], num_rows=num_rows)
            for end in range(num_ends)
        ]
        for (piece, counts), *targets in zip(
            _pieces(rows, num_rows=num_rows), *pieces, strict=True
        ):
            with self._weights.lock:
                logprob, best, cache = programs.score(
                    self._weights.params,
                    piece,
                    cache,
                    targets=np.stack([target for target, _ in targets], axis=-1),
                    num_tokens=counts,
                    config=self._weights.config,
                    dtype=self._weights.dtype,
                )
                logprobs.append(np.asarray(logprob))
                is_best.append(np.asarray(best))
        all_logprobs, all_best = np.concatenate(logprobs, 1), np.concatenate(is_best, 1)
        results: dict[int, Loglikelihood] = {}
        for number, row in enumerate(rows):
            for end, index in enumerate(sharing[row]):
                context, continuation = pairs[index]
                span = slice(len(context) - 1, len(context) - 1 + len(continuation))
                results[index] = Loglikelihood(
                    logprob=float(all_logprobs[number, span, end].sum(dtype=np.float64)),
                    is_greedy=bool(all_best[number, span, end].all()),
                    num_tokens=len(continuation),
                )
        return results

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int], bool]:
        """Give the ids of both, and whether the context lost its head."""
        stripped = context.rstrip(" ")
        continuation = context[len(stripped) :] + continuation
        context_ids = self._tokenizer.encode(stripped)
        whole = self._tokenizer.encode(stripped + continuation)
        if whole[: len(context_ids)] == context_ids:
            continuation_ids = whole[len(context_ids) :]
        else:
            continuation_ids = self._tokenizer.encode(continuation)
        room = max(0, self._info.context_length - 1 - len(continuation_ids))
        kept = context_ids[max(0, len(context_ids) - room) :]
        return [BOS_ID, *kept], continuation_ids, len(kept) < len(context_ids)

    def _check_tokens(self, tokens: Sequence[int]) -> None:
        vocab_size = self._weights.config.vocab_size
        for token in tokens:
            if not 0 <= token < vocab_size:
                raise InputError(f"token id {token} is outside the vocabulary of {vocab_size}")

    def _check_length(self, num_tokens: int, what: str) -> None:
        if num_tokens > self._info.context_length:
            raise ContextLengthError(
                f"{what} {num_tokens} tokens, the model's context holds {self._info.context_length}"
            )


def _is_quantised(params: Params) -> bool:
    return isinstance(params["embedding"], QuantisedWeight | ChannelWeight)


def _free_bytes() -> int:
    """Give half of what is free on the device: a cache that grows stands there twice."""
    memory = jax.devices()[0].memory_stats() or {}
    if "bytes_limit" not in memory:
        return _CACHE_BYTES
    return max(_CACHE_BYTES, (memory["bytes_limit"] - memory["bytes_in_use"]) // 2)


def _cache_dtype(params: Params, *, dtype: np.dtype, on_cpu: bool) -> np.dtype:
    """Choose how keys and values are kept; bfloat16 as its bits wherever XLA may be on a CPU."""
    if _is_quantised(params) or (on_cpu and dtype == jnp.bfloat16):
        return BFLOAT16_BITS
    return dtype


def _place(params: Params, *, dtype: np.dtype, on_cpu: bool) -> Params:
    """Put weights on the device in `dtype`; on a CPU, layer by layer and without copying."""
    if _is_quantised(params):
        return params
    if not on_cpu:
        return jax.tree.map(lambda leaf: jax.device_put(leaf.astype(dtype)), params)
    host = jax.tree.map(lambda leaf: np.asarray(leaf).astype(dtype, copy=False), params)
    if isinstance(host["layers"], dict):
        host = unstack_layers(host)
    return jax.tree.map(lambda leaf: jax.device_put(leaf, may_alias=True), host)


def _pieces(
    rows: Sequence[Sequence[int]], *, num_rows: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Cut rows of ids into pieces padded on the right; give each with its rows' lengths."""
    longest = max(len(row) for row in rows)
    start = 0
    while start < longest:
        length = piece_length(longest - start)
        tokens = np.zeros((num_rows, length), np.int32)
        counts = np.zeros(num_rows, np.int32)
        for index, row in enumerate(rows):
            part = row[start : start + length]
            tokens[index, : len(part)] = part
            counts[index] = len(part)
        yield tokens, counts
        start += length


def _seed(sampling: Sampling) -> int:
    return secrets.randbits(63) if sampling.seed is None else sampling.seed
