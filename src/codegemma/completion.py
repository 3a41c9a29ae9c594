# SPDX-License-Identifier: Apache-2.0
"""The nouns that generate, evaluate and serve share: Prompt, Sampling, Completion, Completer.

A completer turns prompts into completions; whether it runs a model in this process or asks a
server is its own affair. Text here is always plain: control tokens never appear in it.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from codegemma.errors import ConfigError

MODES = ("auto", "psm", "spm", "spm2")
Mode = Literal["auto", "psm", "spm", "spm2"]
FinishReason = Literal["stop", "length", "deadline", "cancelled"]
Role = Literal["user", "model"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFile:
    """A file shown to the model: its repository path and its text."""

    path: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One message of a conversation."""

    role: Role
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """What was left out of a prompt that is longer than the context.

    Args:
        prefix_chars: Characters missing at the prefix's start.
        suffix_chars: Characters missing at the suffix's end.
        files: Paths of context files that are missing, in the prompt's order.
    """

    prefix_chars: int = 0
    suffix_chars: int = 0
    files: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """What is to be completed: code, turns, or tokens; tokens may also stand beside one of them.

    Args:
        prefix: Text before the cursor.
        suffix: Text after the cursor. None: left to right; "": infill at the end of a file.
        path: Repository path of the file, None when unknown (no path line is shown then).
        context: Other files, in the order in which the model reads them.
        turns: A conversation for an instruction model, the user first and last.
        tokens: Ids taken as they are, `<bos>` included; beside code or turns, what the model
            reads of them (see `text/budget.py`).
        cut: What `tokens` leaves out of the code, None if nothing.
        typed: The prefix's end that `tokens` leaves out to be drawn again (see `text/healing.py`).
        seam: The suffix's start that `tokens` leaves out; drawn last, it is no part of the text.
        session: Names a cache shared by the requests of one editor buffer.
        namespace: Requests of different namespaces share no cache; a server gives each client
            token its own.
    """

    prefix: str = ""
    suffix: str | None = None
    path: str | None = None
    context: tuple[SourceFile, ...] = ()
    turns: tuple[Turn, ...] = ()
    tokens: tuple[int, ...] = ()
    cut: Cut | None = None
    typed: str = ""
    seam: str = ""
    session: str | None = None
    namespace: str | None = None

    def __post_init__(self) -> None:
        if self.turns and (self.prefix or self.suffix is not None or self.context):
            raise ConfigError("a prompt is either code or turns, not both")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How to draw a completion; every default is greedy and deterministic.

    Args:
        max_tokens: Most tokens to draw, at least 1.
        temperature: 0 is greedy; otherwise the divisor of the logits.
        top_k: Keep the k most likely tokens; None keeps all.
        top_p: Keep the smallest set of tokens with at least this probability, in (0, 1].
        min_p: Keep tokens with at least this fraction of the best token's probability, in [0, 1].
        seed: Seed of the draw; None draws a new one.
        n: Completions per prompt.
        stop: Strings that end a completion; they are not part of the text.
        logprobs: Alternatives per token to report besides the drawn one; None reports nothing.
        mode: Order of the infill prompt; "auto" takes the one the model is best at.
        budget_ms: Wall-clock budget; what was drawn by then is returned with "deadline".
        heal: Whether the tokens around a cursor inside a token are drawn again with what comes
            between. Commands, server and `Model` ask for it; measuring leaves prompts as they are.
    """

    max_tokens: int = 128
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    seed: int | None = None
    n: int = 1
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    mode: Mode = "auto"
    budget_ms: float | None = None
    heal: bool = False

    def __post_init__(self) -> None:
        checks = (
            (self.max_tokens >= 1, f"max_tokens must be at least 1, not {self.max_tokens}"),
            (
                0 <= self.temperature <= 100,
                f"temperature must be in [0, 100], not {self.temperature}",
            ),
            (self.top_k is None or self.top_k >= 1, f"top_k must be at least 1, not {self.top_k}"),
            (
                self.top_p is None or 0 < self.top_p <= 1,
                f"top_p must be in (0, 1], not {self.top_p}",
            ),
            (
                self.min_p is None or 0 <= self.min_p <= 1,
                f"min_p must be in [0, 1], not {self.min_p}",
            ),
            (self.n >= 1, f"n must be at least 1, not {self.n}"),
            (all(self.stop), "a stop string must not be empty"),
            (
                self.logprobs is None or 0 <= self.logprobs <= 20,
                f"logprobs must be in [0, 20], not {self.logprobs}",
            ),
            (self.mode in MODES, f"mode must be one of {', '.join(MODES)}, not {self.mode}"),
            (
                self.budget_ms is None or self.budget_ms > 0,
                f"budget_ms must be above 0, not {self.budget_ms}",
            ),
        )
        faults = [message for is_fine, message in checks if not is_fine]
        if faults:
            raise ConfigError("; ".join(faults))


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenLogprob:
    """A drawn token with its log probability (natural log) and the best alternatives."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Timings:
    """Wall-clock milliseconds of one completion; compile time counts where it happened."""

    prompt_ms: float = 0.0
    first_token_ms: float = 0.0
    total_ms: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """One completion.

    Args:
        text: What was drawn, without control tokens and stop strings.
        tokens: The drawn ids, the ending control token included when one was drawn. The first
            ones stand for `typed`, too, and the last ones may for the suffix's start.
        logprobs: One entry per token, None unless asked for.
        finish_reason: Why it ended.
        prompt_tokens: Length of the rendered prompt.
        cut: What was left out of the prompt to fit the context, None if nothing.
        cached_tokens: How many of the prompt's tokens were reused from an earlier request.
        timings: Where the time went.
        rule: Name of the trim rule that shortened the text, None if none did.
        typed: The prompt's text that was drawn again in front of `text`.
        typed_tokens: How many of the tokens hold nothing else; they do not count for `max_tokens`.
    """

    text: str
    tokens: tuple[int, ...]
    finish_reason: FinishReason
    logprobs: tuple[TokenLogprob, ...] | None = None
    prompt_tokens: int = 0
    cut: Cut | None = None
    cached_tokens: int = 0
    timings: Timings = field(default_factory=Timings)
    rule: str | None = None
    typed: str = ""
    typed_tokens: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Delta:
    """A piece of a streamed completion; the last one carries the whole completion.

    Args:
        text: New text since the piece before, never half a character.
        index: Which of the n completions it belongs to.
        completion: None until the last piece of this index.
    """

    text: str
    index: int = 0
    completion: Completion | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Loglikelihood:
    """Log probability (natural log) of a continuation, and whether greedy would draw it.

    Args:
        logprob: Sum over the continuation's tokens.
        is_greedy: Whether each of them is the likeliest one.
        num_tokens: How many there are.
        is_cut: Whether the context lost its head to fit the model's.
    """

    logprob: float
    is_greedy: bool
    num_tokens: int
    is_cut: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class CompleterInfo:
    """What a completer is.

    Args:
        name: Name as the user gave it.
        context_length: Most tokens of prompt and completion together.
        mode: Infill order "auto" stands for.
        is_instruction: Whether it takes conversations.
        fingerprint: Hash of the weights' manifest, None when unknown.
        revision: Repository and commit of weights from the hub, None of others.
        device: Such as "cpu", "cuda" or "remote".
        dtype: Activation dtype.
        most_read: Most tokens of an infill prompt, where reading all that the context holds takes
            longer than a user waits; None: what the context holds.
    """

    name: str
    context_length: int
    mode: Mode
    is_instruction: bool = False
    fingerprint: str | None = None
    revision: str | None = None
    device: str = "cpu"
    dtype: str = "float32"
    most_read: int | None = None


@runtime_checkable
class TokenizerProtocol(Protocol):
    """What a completer's tokenizer offers: plain text to ids and back."""

    def encode(self, text: str) -> list[int]:
        """Encode plain text; no id of a control token can result."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """Decode ids to text, control tokens left out."""
        ...


@runtime_checkable
class Completer(Protocol):
    """Turns prompts into completions. Thread-safe; requests of one completer may queue."""

    @property
    def tokenizer(self) -> TokenizerProtocol:
        """Its tokenizer."""
        ...

    @property
    def info(self) -> CompleterInfo:
        """What it is."""
        ...

    def complete(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        cancel: threading.Event | None = None,
    ) -> list[tuple[Completion, ...]]:
        """Complete each prompt `sampling.n` times; results stand in the order of the prompts.

        Setting `cancel` ends what is not complete with "cancelled".
        """
        ...

    def stream(
        self, prompt: Prompt, sampling: Sampling, cancel: threading.Event | None = None
    ) -> Iterator[Delta]:
        """Yield text as it is drawn; setting `cancel` ends it with "cancelled"."""
        ...

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Loglikelihood]:
        """Score continuations given contexts; a remote completer may refuse with RemoteError."""
        ...
