# SPDX-License-Identifier: Apache-2.0
"""What completion servers answer, read into our nouns; every dialect's spelling is known here.

A row is one sample: the pieces of its stream are pushed into it, stop strings end it, and it gives
its completion at any time. Nothing here talks to a server.
"""

import threading
import time
from collections.abc import Sequence
from typing import Any, Final, TypeGuard

from codegemma.completion import (
    Completion,
    Cut,
    FinishReason,
    Loglikelihood,
    Timings,
    TokenLogprob,
)
from codegemma.errors import RemoteError
from codegemma.generate.link import TransientError
from codegemma.generate.stop import StopStrings

_REASONS: Final[dict[str, FinishReason]] = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
}
_ID_MARK: Final = "token_id:"


class Row:
    """One sample on its way.

    Filled on one thread, read and ended on another.

    Args:
        server: Its address, for messages.
        stops: Strings that end it, besides what the server ends it at.
        has_logprobs: Whether log probabilities were asked for.
        news: Set when there is new text.
    """

    def __init__(
        self,
        *,
        server: str,
        stops: Sequence[str],
        has_logprobs: bool,
        news: threading.Event | None = None,
    ) -> None:
        self._server = server
        self._stops = tuple(stops)
        self._has_logprobs = has_logprobs
        self._news = news
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self.restart()

    @property
    def text(self) -> str:
        """What was drawn so far and is sure to stay."""
        return "".join(self._pieces)

    @property
    def is_ended(self) -> bool:
        """Whether a stop string was found; what the server sends then is of no use."""
        return self._ending.is_stopped

    @property
    def is_taken(self) -> bool:
        """Whether some of the text was given out, which is not taken back."""
        return self._num_taken > 0

    def restart(self, cut: Cut | None = None) -> None:
        """Forget what was drawn, for another try.

        Args:
            cut: What the prompt of this try lost.
        """
        with self._lock:
            self._ending = StopStrings(self._stops)
            self._pieces: list[str] = []
            self._num_taken = 0
            self._tokens: list[int] = []
            self._logprobs: list[TokenLogprob] = []
            self._usage: dict[str, Any] = {}
            self._prompt_ms = self._first_token_ms = self._total_ms = 0.0
            self._cut = self._prompt_cut = cut
            self._reason: FinishReason | None = None

    def take(self) -> str:
        """Give the text that is new since this was last asked."""
        with self._lock:
            new = "".join(self._pieces[self._num_taken :])
            self._num_taken = len(self._pieces)
        return new

    def push(self, event: Any) -> None:
        """Take one event.

        Raises:
            RemoteError: It says that the server failed, or is nothing that this protocol knows.
        """
        fields = self._object(event, "an event")
        if fields.get("error"):
            raise RemoteError(f"{self._server} failed while it drew: {said(fields['error'])}")
        if not isinstance(fields.get("choices"), list):
            raise self._wrong("there are no choices in its answer")
        with self._lock:
            if self._reason not in ("cancelled", "deadline"):
                self._note(fields)
                for choice in fields["choices"][:1]:  # none at a stream's end, with the counts
                    self._add(self._object(choice, "a choice"))
        if self._news is not None:
            self._news.set()

    def finish(self) -> None:
        """Note that the server sends no more.

        Raises:
            TransientError: It did so before the completion's end.
        """
        if self._reason is None:
            raise TransientError(f"{self._server} ended its answer before the completion's end")

    def end(self, reason: FinishReason) -> None:
        """End the row from outside, unless it has ended."""
        with self._lock:
            if self._reason is None:
                self._close(reason, self._ending.flush())

    def completion(self) -> Completion:
        """Give the completion; the row has ended.

        Raises:
            RemoteError: Log probabilities were asked for and none came.
        """
        assert self._reason is not None
        if self._has_logprobs and self.text and not self._logprobs:
            raise RemoteError(f"{self._server} gives no log probabilities; ask without")
        details = self._usage.get("prompt_tokens_details")
        return Completion(
            text=self.text,
            tokens=tuple(self._tokens),
            finish_reason=self._reason,
            logprobs=tuple(self._logprobs) if self._has_logprobs else None,
            prompt_tokens=_count(self._usage.get("prompt_tokens")),
            cut=self._cut,
            cached_tokens=_count(details.get("cached_tokens") if _is_object(details) else None),
            timings=Timings(
                prompt_ms=self._prompt_ms,
                first_token_ms=self._first_token_ms,
                total_ms=self._total_ms,
            ),
        )

    def _add(self, choice: dict[str, Any]) -> None:
        """Take a piece of the sample."""
        piece = self._text(choice)
        if piece and not self._first_token_ms:
            self._first_token_ms = self._elapsed_ms()
        ids = choice.get("token_ids")
        self._tokens += [token for token in ids or () if isinstance(token, int)]
        if self._has_logprobs and choice.get("logprobs"):
            self._logprobs += read_logprobs(choice["logprobs"], server=self._server)
        settled = self._ending.push(piece)
        reason = choice.get("finish_reason")
        if self.is_ended:
            self._close("stop", settled)
        elif reason is None:
            self._pieces.append(settled)
        elif str(reason) in _REASONS:
            self._close(_REASONS[str(reason)], settled + self._ending.flush())
        else:
            raise RemoteError(f"{self._server} ended a completion with {reason!r}")

    def _close(self, reason: FinishReason, text: str) -> None:
        self._pieces.append(text)
        self._reason = reason
        self._total_ms = self._elapsed_ms()

    def _note(self, fields: dict[str, Any]) -> None:
        """Keep what an event says beside its text: counts, times, what the server cut."""
        usage, timings, cut = (fields.get(name) for name in ("usage", "timings", "truncated"))
        if _is_object(usage):
            self._usage = usage
        if _is_object(timings) and isinstance(timings.get("prompt_ms"), int | float):
            self._prompt_ms = float(timings["prompt_ms"])
        if _is_object(cut):
            earlier = self._prompt_cut or Cut()
            self._cut = Cut(
                prefix_chars=earlier.prefix_chars + _count(cut.get("prefix_chars")),
                suffix_chars=earlier.suffix_chars + _count(cut.get("suffix_chars")),
                files=earlier.files,
            )

    def _text(self, choice: dict[str, Any]) -> str:
        """Find a piece's text, of a completion or of a conversation."""
        for name in ("delta", "message"):
            if _is_object(choice.get(name)):
                choice = {"text": choice[name].get("content") or ""}
        piece = choice.get("text")
        if not isinstance(piece, str):
            raise self._wrong("there is no text in a choice")
        return piece

    def _object(self, value: Any, what: str) -> dict[str, Any]:
        if not _is_object(value):
            raise self._wrong(f"{what} is no JSON object")
        return value

    def _wrong(self, what: str) -> RemoteError:
        return RemoteError(f"{self._server} does not speak OpenAI's completions: {what}")

    def _elapsed_ms(self) -> float:
        return round(1000 * (time.monotonic() - self._began), 3)


def read_logprobs(value: Any, *, server: str) -> list[TokenLogprob]:
    """Read the log probabilities of drawn tokens: OpenAI's lists, or llama.cpp's objects with ids.

    Raises:
        RemoteError: They carry no token ids, or are none.
    """
    try:
        if "content" in value:
            return [
                TokenLogprob(
                    token=entry["id"],
                    logprob=float(entry["logprob"]),
                    top=tuple(
                        (each["id"], float(each["logprob"])) for each in entry["top_logprobs"]
                    ),
                )
                for entry in value["content"]
            ]
        best = value.get("top_logprobs") or [{}] * len(value["tokens"])
        return [
            TokenLogprob(
                token=_id(token),
                logprob=float(logprob),
                top=tuple((_id(name), float(found)) for name, found in (top or {}).items()),
            )
            for token, logprob, top in zip(
                value["tokens"], value["token_logprobs"], best, strict=True
            )
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RemoteError(
            f"{server} gives log probabilities without token ids; ask without logprobs"
        ) from error


def read_loglikelihood(answer: Any, *, num_context: int, server: str) -> Loglikelihood:
    """Sum up what a server says of a prompt that it repeats, from token `num_context` on.

    Args:
        answer: Its answer to a request with `echo`, `logprobs` and one token to draw.
        num_context: Tokens of the prompt that are not scored.
        server: Its address, for messages.

    Raises:
        RemoteError: The answer says nothing of the prompt's tokens.
    """
    try:
        logprobs = answer["choices"][0]["logprobs"]
        end = int(answer["usage"]["prompt_tokens"])
        tokens = logprobs["tokens"][num_context:end]
        values = [float(value) for value in logprobs["token_logprobs"][num_context:end]]
        best = logprobs["top_logprobs"][num_context:end]
        if len(values) != end - num_context or not values or len(logprobs["tokens"]) < end:
            raise ValueError("it has other tokens than the prompt")
        is_greedy = all(value >= max(top.values()) for value, top in zip(values, best, strict=True))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise RemoteError(
            f"{server} gives no log probabilities of a prompt (echo with logprobs), which "
            "loglikelihood needs; vLLM's server does"
        ) from error
    return Loglikelihood(logprob=sum(values), is_greedy=is_greedy, num_tokens=len(tokens))


def prompt_length(answer: Any, *, server: str) -> int:
    """Give the number of a prompt's tokens as a server counts them.

    Raises:
        RemoteError: It does not say.
    """
    try:
        return int(answer["usage"]["prompt_tokens"])
    except (KeyError, TypeError, ValueError) as error:
        raise RemoteError(f"{server} does not say how many tokens a prompt has") from error


def said(value: Any) -> str:
    """Give the words of an error in whichever of the usual shapes, on one line."""
    while _is_object(value):
        value = value.get("error") or value.get("message") or value.get("detail") or ""
    return " ".join(str(value).split())[:300]


def _id(token: Any) -> int:
    """Read a token that is spelled as its id, as vLLM and our server do when asked."""
    if not isinstance(token, str) or not token.startswith(_ID_MARK):
        raise ValueError(f"{token!r} is no id")
    return int(token.removeprefix(_ID_MARK))


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)
