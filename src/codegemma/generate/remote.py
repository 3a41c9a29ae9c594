# SPDX-License-Identifier: Apache-2.0
"""A Completer over HTTP: any server of OpenAI's completions, such as vLLM, llama-server or ours.

An infill goes to our own server as prompt and suffix, which lays it out and fits it itself; any
other server gets it as one string, laid out by the template of the model's family
(`text/templates.py`), cut here where the server says it is too long. Each sample is a request of
its own, streamed, so that servers without `n` serve too, and a cancelled one stops drawing.

Differs: samples of one prompt are drawn with seed, seed + 1, ...: not those of one request for n.
Unstated: the context of a server that does not tell it; 8,192 tokens are assumed.
"""

import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from codegemma.completion import (
    MODES,
    CompleterInfo,
    Completion,
    Delta,
    FinishReason,
    Loglikelihood,
    Prompt,
    Sampling,
)
from codegemma.errors import ConfigError, ContextLengthError, RemoteError
from codegemma.generate.answers import Row, prompt_length, read_loglikelihood
from codegemma.generate.link import TOKEN_VARIABLE, Link, TransientError
from codegemma.generate.requests import SUFFIX, Requests, Served
from codegemma.text.templates import shorten, template_by_name

SCHEME: Final = "remote:"
"""What the name of a remote model begins with."""

DEFAULT_CONTEXT_LENGTH: Final = 8192

_POLL_S: Final = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteName:
    """What `remote:URL#MODEL,fim=TEMPLATE` says; model and template may be missing.

    Args:
        url: Root of the protocol, ending in /v1 unless the user gave a path.
        model: The model as the server calls it, None for the only one.
        fim: How infill is asked for: a template's name, or "suffix"; None goes by the model's name.
    """

    url: str
    model: str | None = None
    fim: str | None = None

    @classmethod
    def parse(cls, name: str) -> "RemoteName":
        """Read a name.

        Raises:
            ConfigError: It is none, or holds a password.
        """
        address, _, rest = name.removeprefix(SCHEME).partition("#")
        try:
            parts = urlsplit(address)
            _ = parts.port
        except ValueError:
            parts = None
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(
                f"a remote model is written remote:URL, as in remote:http://127.0.0.1:8000/v1, or "
                f"remote:URL#MODEL, not {name!r}"
            )
        if parts.username or parts.password or parts.query:
            raise ConfigError(
                f"the address of a remote model carries no user, password or query: put the token "
                f"into {TOKEN_VARIABLE}"
            )
        model, *options = rest.split(",")
        fim = None
        for option in options:
            key, _, value = option.partition("=")
            if key != "fim":
                raise ConfigError(f"a remote model takes the option fim=TEMPLATE, not {option!r}")
            fim = value if value == SUFFIX else template_by_name(value).name
        path = parts.path.rstrip("/") or "/v1"
        url = f"{parts.scheme}://{parts.netloc}{path}"
        return cls(url=url, model=model or None, fim=fim)


class Remote:
    """A Completer that asks a server. Thread-safe; requests go side by side.

    Args:
        name: `remote:URL`, with `#MODEL` and `,fim=TEMPLATE` if need be.
        link: How the server is asked; None makes one, with the token of the environment.

    Raises:
        ConfigError: The name is wrong, or the server has several models and none is named.
        RemoteError: The server does not answer as it should.
    """

    def __init__(self, name: str, *, link: Link | None = None) -> None:
        asked = RemoteName.parse(name)
        token = os.environ.get(TOKEN_VARIABLE, "").strip() or None
        self._link = link or Link(asked.url, token=token)
        try:
            entry = self._link.run(self._choose(asked.model))
            owner = entry.get("owned_by")
            served = Served(
                model=entry["id"], owner=owner if isinstance(owner, str) else "", fim=asked.fim
            )
            self.info = self._link.run(self._describe(entry, served))
        except BaseException:
            self._link.close()
            raise
        self.tokenizer = RemoteTokenizer(self._link, served)
        self._served = served
        self._requests = Requests(served, self.info)

    async def _choose(self, model: str | None) -> dict[str, Any]:
        """Ask what is served and give the entry of the model that is meant."""
        url = self._link.url
        answer = await self._link.retry(
            lambda: self._link.get("/models"), may_retry=lambda error: not error.is_unreachable
        )
        entries = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(entries, list) or not all(
            isinstance(entry, dict) and isinstance(entry.get("id"), str) for entry in entries
        ):
            raise RemoteError(
                f"{url}/models gives no list of models: it is no OpenAI-compatible server, or not "
                "at this address"
            )
        found = {entry["id"]: entry for entry in entries}
        names = ", ".join(found) or "nothing"
        if model is not None:
            if model not in found:
                raise ConfigError(f"{url} serves {names}, and not {model!r}")
            return found[model]
        is_ours = any(entry.get("owned_by") == "codegemma" for entry in entries)
        if not found or (len(found) > 1 and not is_ours):  # ours lists one under several names
            raise ConfigError(f"{url} serves {names}: name one, as in {SCHEME}{url}#MODEL")
        return entries[0]

    async def _describe(self, entry: dict[str, Any], served: Served) -> CompleterInfo:
        """Put together what the server tells of a model."""
        meta = entry.get("meta")
        meta = meta if isinstance(meta, dict) else {}
        length = entry.get("max_model_len") or meta.get("n_ctx")
        if served.owner == "llamacpp" and not length:
            length = await self._slot_length()
        length = length or meta.get("n_ctx_train")
        fim = SUFFIX if served.takes_suffix else getattr(served.template, "name", None)
        mode, fingerprint = meta.get("mode"), meta.get("fingerprint")
        is_instruction = meta.get("is_instruction")
        return CompleterInfo(
            name=f"{SCHEME}{self._link.url}#{served.model}" + (f",fim={fim}" if fim else ""),
            context_length=length if isinstance(length, int) else DEFAULT_CONTEXT_LENGTH,
            mode=mode if served.is_ours and mode in MODES else "psm",
            is_instruction=is_instruction
            if isinstance(is_instruction, bool)
            else served.is_instruction,
            fingerprint=fingerprint if isinstance(fingerprint, str) else None,
            device="remote",
            dtype=str(meta.get("dtype") or "unknown"),
        )

    async def _slot_length(self) -> object:
        """Ask llama-server for the context that one request gets."""
        try:
            props = await self._link.get(f"{self._link.url.removesuffix('/v1')}/props")
            return props["default_generation_settings"]["n_ctx"]
        except (RemoteError, KeyError, TypeError):
            return None

    def close(self) -> None:
        """End what is under way and the connections."""
        self._link.close()

    def complete(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        cancel: threading.Event | None = None,
    ) -> list[tuple[Completion, ...]]:
        """Complete prompts side by side; a lost request is drawn anew.

        Raises:
            RemoteError: The server does not answer as it should.
            ContextLengthError: A prompt is too long for it.
            InputError: A prompt cannot be shown to it, as a conversation to a base model.
        """
        ends_at = _deadline(sampling)
        samples = [self._start(prompt, sampling) for prompt in prompts]
        futures = [future for rows in samples for future in rows]
        try:
            pending, reason = set(futures), None
            while pending and (reason := _reason(cancel, ends_at)) is None:
                done, pending = wait(pending, timeout=_POLL_S, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
            for rows in samples:
                for future, row in rows.items():
                    _settle(future, row, reason)
        finally:
            _stop(futures)
        return [tuple(row.completion() for row in rows.values()) for rows in samples]

    def stream(
        self, prompt: Prompt, sampling: Sampling, cancel: threading.Event | None = None
    ) -> Iterator[Delta]:
        """Yield text as the server sends it; leaving the iterator ends the request.

        A request that is lost after its first text is an error: what was given is not taken back.

        Raises:
            RemoteError: The server does not answer as it should.
            ContextLengthError: The prompt is too long for it.
            InputError: The prompt cannot be shown to it.
        """
        news = threading.Event()
        ends_at = _deadline(sampling)
        rows = self._start(prompt, sampling, news=news)
        is_open = dict.fromkeys(rows, True)
        try:
            while any(is_open.values()):
                news.wait(_POLL_S)
                news.clear()
                reason = _reason(cancel, ends_at)
                for index, (future, row) in enumerate(rows.items()):
                    if is_open[future] and (future.done() or reason):
                        is_open[future] = False
                        _settle(future, row, reason)
                        yield Delta(text=row.take(), index=index, completion=row.completion())
                    elif text := row.take():
                        yield Delta(text=text, index=index)
        finally:
            _stop(rows)

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Loglikelihood]:
        """Score continuations by having the server repeat prompts with log probabilities.

        A context's tokens are taken to be the first of context and continuation together. Without a
        context a server that puts no `<bos>` before a text cannot score its first token: it is
        left out.

        Raises:
            RemoteError: The server gives no log probabilities of a prompt.
            ContextLengthError: A pair is too long for it.
        """
        asked = dict.fromkeys(context for context, _ in pairs if context)
        contexts = {context: self._link.submit(self._echo(context)) for context in asked}
        wholes = [self._link.submit(self._echo(context + more)) for context, more in pairs]
        try:
            found: list[Loglikelihood] = []
            for (context, _), whole in zip(pairs, wholes, strict=True):
                count, server = 1, self._link.url
                if context:
                    count = prompt_length(contexts[context].result(), server=server)
                found.append(read_loglikelihood(whole.result(), num_context=count, server=server))
            return found
        finally:
            _stop([*contexts.values(), *wholes])

    async def _echo(self, text: str) -> Any:
        """Have the server repeat a text with the log probabilities of its tokens."""
        body = {
            "model": self._served.model,
            "prompt": text,
            "max_tokens": 1,
            "temperature": 0.0,
            "echo": True,
            "logprobs": 1,
        }
        try:
            return await self._link.retry(lambda: self._link.post("/completions", body))
        except ContextLengthError:
            raise
        except RemoteError as error:
            raise RemoteError(f"no log probabilities of a prompt: {error}") from error

    def _start(
        self, prompt: Prompt, sampling: Sampling, *, news: threading.Event | None = None
    ) -> dict[Future[None], Row]:
        """Begin the samples of a prompt."""
        rows: dict[Future[None], Row] = {}
        for index in range(sampling.n):
            row = Row(
                server=self._link.url,
                stops=self._requests.stops(prompt, sampling),
                has_logprobs=sampling.logprobs is not None,
                news=news,
            )
            future = self._link.submit(self._draw(prompt, sampling, index, row))
            if news is not None:
                future.add_done_callback(lambda _: news.set())
            rows[future] = row
        return rows

    async def _draw(self, prompt: Prompt, sampling: Sampling, index: int, row: Row) -> None:
        """Draw one sample into its row, in as many tries as it takes.

        Args:
            prompt: Its prompt.
            sampling: How.
            index: Its number among the prompt's samples.
            row: Takes what comes. Nothing begins anew once text was taken from it.
        """
        request = self._requests.make(prompt, sampling, index=index)

        async def attempt() -> None:
            row.restart(request.cut)
            async with aclosing(self._link.events(request.path, request.body)) as events:
                async for event in events:
                    row.push(event)
                    if row.is_ended:
                        return
            row.finish()

        def may_retry(_: TransientError) -> bool:
            return not row.is_taken

        sizes = self._requests.sizes(prompt, sampling)
        while True:
            try:
                return await self._link.retry(attempt, may_retry=may_retry)
            except ContextLengthError:
                size = next(sizes, None)
                if size is None:
                    raise
                shorter = shorten(prompt, max_chars=size)
                request = self._requests.make(shorter, sampling, index=index)


class RemoteTokenizer:
    """The server's tokenizer, where it offers one, as vLLM and llama-server do.

    Args:
        link: To the server.
        served: What is served there.
    """

    def __init__(self, link: Link, served: Served) -> None:
        self._link = link
        self._served = served
        self._root = link.url.removesuffix("/v1")

    def encode(self, text: str) -> list[int]:
        """Encode plain text; where the server cannot be told so, a spelling may become control.

        Raises:
            RemoteError: The server does not tokenize for others.
        """
        if self._served.owner == "vllm":
            body = {"model": self._served.model, "prompt": text, "add_special_tokens": False}
        else:
            body = {"content": text, "add_special": False, "parse_special": False}
        return [int(token) for token in self._ask("tokenize", body, "tokens")]

    def decode(self, tokens: Sequence[int]) -> str:
        """Decode ids to text.

        Raises:
            RemoteError: The server does not tokenize for others.
        """
        body = {"model": self._served.model, "tokens": list(tokens)}
        is_vllm = self._served.owner == "vllm"
        return str(self._ask("detokenize", body, "prompt" if is_vllm else "content"))

    def _ask(self, what: str, body: Mapping[str, Any], name: str) -> Any:
        if self._served.owner not in ("vllm", "llamacpp"):
            raise RemoteError(f"{self._link.url} does not tokenize for others")
        answer = self._link.run(self._link.post(f"{self._root}/{what}", body))
        if not isinstance(answer, dict) or name not in answer:
            raise RemoteError(f"{self._link.url} answered /{what} without {name}")
        return answer[name]


def _deadline(sampling: Sampling) -> float | None:
    budget_ms = sampling.budget_ms
    return None if budget_ms is None else time.monotonic() + budget_ms / 1000


def _reason(cancel: threading.Event | None, ends_at: float | None) -> FinishReason | None:
    """Say why drawing is to end now, None if it is not."""
    if cancel is not None and cancel.is_set():
        return "cancelled"
    return "deadline" if ends_at is not None and time.monotonic() >= ends_at else None


def _settle(future: Future[None], row: Row, reason: FinishReason | None) -> None:
    """Take what became of a sample, or end it."""
    if future.done():
        future.result()
    else:
        assert reason is not None
        future.cancel()
        row.end(reason)


def _stop(futures: Iterable[Future[Any]]) -> None:
    for future in futures:
        future.cancel()
