# SPDX-License-Identifier: Apache-2.0
"""OpenAI's completions protocol, the way out: completions, whole or in pieces, to its JSON.

Adds to OpenAI's own fields `timings` in llama.cpp's words, which editors and benchmarks read,
`truncated` when an infill's file was longer than the context, and `context`, the paths of the
files of the server's repository that the model was shown.
"""

import time
import uuid
from collections.abc import Sequence

from codegemma.completion import (
    Completer,
    CompleterInfo,
    Completion,
    Prompt,
    TokenLogprob,
)
from codegemma.serve.protocols.openai import CompletionRequest, model_ids
from codegemma.text.newlines import LineEnd, restore


def models_body(info: CompleterInfo, *, created: int) -> dict[str, object]:
    """Render the list of models."""
    data = [model_body(info, name, created=created) for name in model_ids(info)]
    return {"object": "list", "data": data}


def model_body(info: CompleterInfo, name: str, *, created: int) -> dict[str, object] | None:
    """Render one model; None if it does not answer to that name."""
    if name not in model_ids(info):
        return None
    meta = {
        "n_ctx_train": info.context_length,
        "mode": info.mode,
        "is_instruction": info.is_instruction,
        "device": info.device,
        "dtype": info.dtype,
        "fingerprint": info.fingerprint,
    }
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "codegemma",
        "meta": meta,
    }


class Answer:
    """One answer, whole or in pieces: all of them carry the same id, time and model.

    Line ends are those of the request's text. A choice starts with the prompt if that was asked.

    Args:
        request: What was asked.
        completer: Who answers.
        prompts: What the model reads, fitted; an answer says what they lost and were given.
    """

    def __init__(
        self, request: CompletionRequest, completer: Completer, *, prompts: Sequence[Prompt] = ()
    ) -> None:
        self._request = request
        self._tokenizer = completer.tokenizer
        self._begun: set[int] = set()
        self._line_ends: list[LineEnd] = [
            request.line_end(at) for at in range(len(request.prompts))
        ]
        self._head: dict[str, object] = {
            "id": f"cmpl-{uuid.uuid4().hex}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": model_ids(completer.info)[0],
        }
        cuts = [prompt.cut for prompt in prompts if prompt.cut]
        lost = {path for cut in cuts for path in cut.files}
        paths = (file.path for prompt in prompts for file in prompt.context)
        self._context = [path for path in dict.fromkeys(paths) if path not in lost]
        if cuts:
            self._head["truncated"] = {
                "prefix_chars": sum(cut.prefix_chars for cut in cuts),
                "suffix_chars": sum(cut.suffix_chars for cut in cuts),
            }

    def whole(self, completions: Sequence[Completion]) -> dict[str, object]:
        """Render a complete answer, the choices in the order of prompts, then of samples."""
        choices = [
            self._choice(index, completion.text, completion)
            for index, completion in enumerate(completions)
        ]
        return {**self._head, "choices": choices, **self._counts(completions)}

    def piece(self, index: int, text: str, completion: Completion | None) -> dict[str, object]:
        """Render a piece of a streamed answer; the last of a choice carries its completion."""
        return {**self._head, "choices": [self._choice(index, text, completion)]}

    def usage(self, completions: Sequence[Completion]) -> dict[str, object]:
        """Render the last piece of a stream that was asked for its token counts."""
        return {**self._head, "choices": [], **self._counts(completions)}

    def _counts(self, completions: Sequence[Completion]) -> dict[str, object]:
        """Render token counts and, in llama.cpp's words, where the time went.

        A prompt counts once, however many completions it has. Tokens of its end that were drawn
        again do not count as the completion's, but took their part of the time.
        """
        prompts = completions[:: self._request.sampling.n]
        num_prompt = sum(completion.prompt_tokens for completion in prompts)
        num_cached = sum(completion.cached_tokens for completion in prompts)
        num_drawn = sum(len(completion.tokens) for completion in completions)
        num_new = num_drawn - sum(completion.typed_tokens for completion in completions)
        prompt_ms = sum(completion.timings.prompt_ms for completion in prompts)
        total_ms = sum(completion.timings.total_ms for completion in prompts)
        usage = {
            "prompt_tokens": num_prompt,
            "completion_tokens": num_new,
            "total_tokens": num_prompt + num_new,
            "prompt_tokens_details": {"cached_tokens": num_cached},
        }
        timings = {
            "cache_n": num_cached,
            "prompt_n": num_prompt - num_cached,
            "prompt_ms": round(prompt_ms, 3),
            "predicted_n": num_drawn,
            "predicted_ms": round(max(0.0, total_ms - prompt_ms), 3),
        }
        context = {"context": self._context} if self._context else {}
        return {"usage": usage, "timings": timings, **context}

    def _choice(self, index: int, text: str, completion: Completion | None) -> dict[str, object]:
        prompt = index // self._request.sampling.n
        text = restore(text, self._line_ends[prompt])
        if index not in self._begun:
            self._begun.add(index)
            text = self._echo(prompt) + text
        reason = None
        if completion is not None:
            reason = "stop" if completion.finish_reason == "stop" else "length"
        logprobs = self._logprobs(completion) if completion is not None else None
        choice: dict[str, object] = {"index": index, "text": text}
        if self._request.has_ids and completion is not None:
            choice["token_ids"] = list(completion.tokens)
        return {**choice, "logprobs": logprobs, "finish_reason": reason}

    def _echo(self, prompt: int) -> str:
        if not self._request.is_echo:
            return ""
        given = self._request.prompts[prompt]
        return given if isinstance(given, str) else self._tokenizer.decode(given)

    def _logprobs(self, completion: Completion) -> dict[str, object] | None:
        """Render log probabilities of the tokens that are in the text.

        Stop tokens are not, nor is what was typed and drawn again.
        """
        if completion.logprobs is None:
            return None
        tokens: list[str] = []  # as text, which tells where each stands
        offsets: list[int] = []
        entries: list[TokenLogprob] = []
        offset = -len(completion.typed)
        for entry in completion.logprobs:
            if offset >= len(completion.text):
                break
            token = self._tokenizer.decode([entry.token])
            start, offset = offset, offset + len(token)
            if offset > 0 or start >= 0:
                tokens.append(token)
                offsets.append(max(start, 0))
                entries.append(entry)
        best = [{self._name(token): logprob for token, logprob in entry.top} for entry in entries]
        return {
            "tokens": [self._name(entry.token) for entry in entries],
            "token_logprobs": [entry.logprob for entry in entries],
            "top_logprobs": best if self._request.sampling.logprobs else None,
            "text_offset": offsets,
        }

    def _name(self, token: int) -> str:
        """Spell a token, or name it by its id."""
        return f"token_id:{token}" if self._request.names_ids else self._tokenizer.decode([token])
