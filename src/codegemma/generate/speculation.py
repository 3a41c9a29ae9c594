# SPDX-License-Identifier: Apache-2.0
"""Guesses of the next tokens, looked up in texts that hold them already: no second model.

Code repeats itself: the tokens after the last few are often those that followed them earlier, in
the prompt (prefix, suffix and context files alike), in what was drawn so far, or in what earlier
requests drew. That last one covers the user who typed something else than the completion shown:
as soon as the new text meets the old one again, the old one goes on as a guess. A guess is checked
by `programs.verify` in one pass, with the uniform numbers that drawing one by one would use, so
the text is the same at any temperature; only the time differs.

Guesses that fail cost time, so they are paid for: see `Credit`, which bounds what they may cost.

Source: prompt lookup decoding (Saxena, 2023); adaptive length after SuffixDecoding, NeurIPS 2025.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from codegemma.kernels import native
from codegemma.kernels.attention import MAX_QUERIES
from codegemma.model.config import ModelConfig
from codegemma.text.tokens import (
    FIM_MIDDLE_ID,
    FIM_PREFIX_ID,
    FIM_SUFFIX_ID,
    NUM_RESERVED,
)

PLACES: Final = (8, 16)
"""Tokens one pass reads, the last drawn one among them; each is a program of its own."""

NUM_AROUND: Final = 4
"""Tokens in front of a completion that are remembered with it."""

_GRAMS: Final = (4, 3, 2)
_MAX_RECENT: Final = 16
_MIN_PATIENCE: Final = 2
_MAX_PATIENCE: Final = 32
_LOSS_FRACTION: Final = 0.03
_FIRST_CREDIT: Final = 4.0
_MAX_CREDIT: Final = 16.0

# What a token of a pass takes, in steps, where 8 or 16 are read: the larger of the formats in
# benchmarks/results/products-*.json. NEON was not measured and counts as AVX2. XLA reads 16 in the
# time of one; accelerators, not measured either, are taken to.
_STEPS_PER_TOKEN: Final[Mapping[str | None, float]] = {
    None: 0.125,
    "amx": 0.25,
    "avx512": 0.25,
    "avxvnni": 0.35,
    "avx2": 0.6,
    "neon": 0.6,
    "portable": 1.0,
}


def places_for(config: ModelConfig) -> tuple[int, ...]:
    """Tokens that a pass of a model may read: on a CPU those that attention's kernels take at once.

    With 8 query heads to a key head, as the 2B has, those are 8 tokens: of 16, XLA would attend to
    the whole cache in float32, which is not in what `Credit` charges.
    """
    if native.choose_path() is None or not native.can_attend():
        return PLACES
    most = MAX_QUERIES * config.num_kv_heads // config.num_heads
    return tuple(places for places in PLACES if places <= most) or PLACES[:1]


def places_of(num_drafted: int) -> int:
    """Give the tokens that a pass reads to check so many guesses."""
    return next(places for places in PLACES if num_drafted < places)


class Credit:
    """What guessing may still cost, in steps of drawing one token; one for all of an engine.

    A pass costs some steps more than drawing a token does, and saves one for each token that was
    guessed right. It is made only if its cost is in hand. Each token drawn adds 0.03 of a step; so
    of n tokens drawn in whatever requests, guessing never takes longer than 1.03 n + 4 steps, which
    is 0.97 of the speed without. What is in hand has a limit, so that guesses that held long ago do
    not pay for many that fail now.

    Args:
        path: Which of the kernels multiply; None is XLA, for weights of any format.
    """

    def __init__(self, path: str | None = None) -> None:
        self._steps_per_token = _STEPS_PER_TOKEN.get(path, _STEPS_PER_TOKEN[None])
        self._num_steps = _FIRST_CREDIT

    def cost(self, num_places: int) -> float:
        """Steps that a pass which reads so many tokens takes more than drawing one, at most."""
        return max(1.0, self._steps_per_token * num_places - 1)

    def is_enough(self, num_places: int) -> bool:
        """Whether a pass that reads so many tokens can be paid for."""
        return self._num_steps >= self.cost(num_places)

    def earn(self, num_tokens: int) -> None:
        """Take note of tokens that were drawn."""
        self._add(_LOSS_FRACTION * num_tokens)

    def settle(self, num_places: int, num_accepted: int) -> None:
        """Take note of a pass and of what it saved."""
        self._add(num_accepted - self.cost(num_places))

    def _add(self, num_steps: float) -> None:
        self._num_steps = min(self._num_steps + num_steps, _MAX_CREDIT)


class Recent:
    """What the last requests drew, newest last, per namespace of one engine.

    Attributes:
        credit: What their guesses have left.
    """

    def __init__(self, *, credit: Credit) -> None:
        self.credit = credit
        self._texts: deque[tuple[str | None, np.ndarray]] = deque(maxlen=_MAX_RECENT)

    def put(self, tokens: Sequence[int], *, namespace: str | None) -> None:
        """Keep the tokens around a completion, its last one first in line for guesses."""
        if len(tokens) > _GRAMS[-1]:
            self._texts.append((namespace, np.asarray(tokens, np.int32)))

    def of(self, namespace: str | None) -> list[np.ndarray]:
        """Give what may be shown to a request of a namespace, newest first."""
        texts = tuple(self._texts)  # other threads may add to it meanwhile
        return [tokens for owner, tokens in reversed(texts) if owner == namespace]


class Drafter:
    """Guesses for one row, and how often it is worth to guess.

    Args:
        prompt: The row's prompt.
        recent: What earlier requests drew, newest first.
        credit: What its guesses may cost; None is that of a new engine.
        places: Tokens that a pass may read, fewest first.
    """

    def __init__(
        self,
        prompt: Sequence[int],
        recent: Sequence[np.ndarray] = (),
        *,
        credit: Credit | None = None,
        places: Sequence[int] = PLACES,
    ) -> None:
        self._prompt = np.asarray(prompt, np.int32)
        self._prefix = list(prefix_tokens(prompt))
        self._recent = list(recent)
        self._credit = credit or Credit()
        self._fewest, self._most = places[0], places[-1]
        self._places = self._fewest
        self._num_seen = 0
        self._is_paused = False
        self._patience = _MIN_PATIENCE
        self.num_drafted = self.num_accepted = self.num_passes = 0

    @property
    def patience(self) -> int:
        """Tokens to draw one by one before it is asked again."""
        return self._patience

    def propose(self, drawn: Sequence[int], *, max_tokens: int) -> list[int]:
        """Guess the tokens after those drawn so far; none where nothing is known or it rarely paid.

        Args:
            drawn: The row's tokens, at least one.
            max_tokens: Most tokens to guess.
        """
        self._credit.earn(len(drawn) - self._num_seen)
        self._num_seen = len(drawn)
        num_wanted = min(self._places - 1, max_tokens)
        if self._is_paused or num_wanted < 1:
            self._is_paused = False
            return []
        if not self._credit.is_enough(self._places):
            self._places = self._fewest
            num_wanted = min(self._places - 1, num_wanted)
        if not self._credit.is_enough(self._places):
            self._patience = _MAX_PATIENCE
            return []
        guess = self._find(np.asarray(self._prefix + list(drawn), np.int32), num_wanted)
        if not guess:
            self._patience = min(2 * self._patience, _MAX_PATIENCE)
        return guess

    def _find(self, text: np.ndarray, num_wanted: int) -> list[int]:
        """Look up what followed the end of a text before; the longest end that is known counts."""
        for count in _GRAMS:
            if len(text) < count:
                continue
            gram = text[-count:]
            for source in (text, *self._recent, self._prompt):
                guess = _continue(source, gram, num_wanted)
                if len(guess):
                    return guess.tolist()
        return []

    def record(self, num_drafted: int, num_accepted: int) -> None:
        """Take note of how a guess went: the next is longer, shorter, or put off."""
        self.num_passes += 1
        self.num_drafted += num_drafted
        self.num_accepted += num_accepted
        self._credit.settle(places_of(num_drafted), num_accepted)
        self._places = self._most if num_accepted == num_drafted else self._fewest
        if num_accepted:
            self._patience = _MIN_PATIENCE
        else:
            self._is_paused = True
            self._patience = min(2 * self._patience, _MAX_PATIENCE)


def prefix_tokens(prompt: Sequence[int]) -> Sequence[int]:
    """Give the tokens in front of the cursor: an infill's prefix, or all of another prompt."""
    tokens = list(prompt)
    if FIM_MIDDLE_ID not in tokens:
        return tokens
    start = _last(tokens, FIM_PREFIX_ID) + 1
    end = next(
        (i for i in range(start, len(tokens)) if tokens[i] in (FIM_SUFFIX_ID, FIM_MIDDLE_ID)),
        len(tokens),
    )
    after = _last(tokens, FIM_MIDDLE_ID) + 1
    return tokens[start:end] + tokens[after:]


def _last(tokens: Sequence[int], token: int) -> int:
    return next((i for i in range(len(tokens) - 1, -1, -1) if tokens[i] == token), -1)


def _continue(source: np.ndarray, gram: np.ndarray, num_wanted: int) -> np.ndarray:
    """Give what follows the last place of a gram in a text, up to a control token."""
    count = len(gram)
    if len(source) <= count:
        return source[:0]
    found = source[count - 1 : -1] == gram[-1]
    for back in range(1, count):
        found &= source[count - 1 - back : len(source) - 1 - back] == gram[-1 - back]
    places = found.nonzero()[0]
    if not len(places):
        return source[:0]
    start = int(places[-1]) + count
    guess = source[start : start + num_wanted]
    ends = (guess < NUM_RESERVED).nonzero()[0]
    return guess[: ends[0]] if len(ends) else guess
