# SPDX-License-Identifier: Apache-2.0
"""What a completion server is asked: our prompts and settings as the JSON of each dialect.

Our own server takes prompt and suffix apart, lays them out, fits them to its context and lets no
text become a control token. Any other server gets one string, laid out by the template of the
model's family. Nothing here talks to a server.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from codegemma.completion import CompleterInfo, Cut, Prompt, Sampling
from codegemma.errors import ConfigError, InputError, RemoteError
from codegemma.text.templates import (
    CODEGEMMA,
    TEMPLATES,
    Template,
    find_template,
    keep_plain,
    render,
    template_by_name,
)

SUFFIX: Final = "suffix"
"""The template's name where a server takes prompt and suffix apart."""

_MAX_STOPS: Final = 4  # what OpenAI takes, and with it some others; the rest is watched for here
_STOPS_UNBOUNDED: Final = ("codegemma", "vllm", "llamacpp")
_CHARS_PER_TOKEN: Final = (3.0, 2.0, 1.0, 0.25)  # the last: every character as four bytes
_FRAME_TOKENS: Final = 16  # for `<bos>`, sentinels, a repository's name
_INSTRUCTION: Final = re.compile(r"(^|[-_.:/])(it|instruct|chat)($|[-_.:/])")


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """A model on a server.

    Args:
        model: Its name there.
        owner: Whose server it is: "codegemma", "vllm", "llamacpp", or anything else.
        fim: How infill is asked for: a template's name or "suffix"; None goes by server and name.
    """

    model: str
    owner: str = ""
    fim: str | None = None

    @property
    def is_ours(self) -> bool:
        """Whether the server is this project's."""
        return self.owner == "codegemma"

    @property
    def takes_suffix(self) -> bool:
        """Whether an infill goes out as prompt and suffix."""
        return self.fim == SUFFIX or (self.fim is None and self.is_ours)

    @property
    def template(self) -> Template | None:
        """The template of the model's family, None where it is not known."""
        if self.fim not in (None, SUFFIX):
            return template_by_name(self.fim)
        return CODEGEMMA if self.is_ours else find_template(self.model)

    @property
    def is_instruction(self) -> bool:
        """Whether its name is that of an instruction model."""
        return bool(_INSTRUCTION.search(self.model.lower()))


class Request(NamedTuple):
    """One request: path below the server's root, JSON, and what its prompt lost."""

    path: str
    body: dict[str, Any]
    cut: Cut | None


class Requests:
    """Makes the requests for one served model.

    Args:
        served: The model.
        info: What is known of it.
    """

    def __init__(self, served: Served, info: CompleterInfo) -> None:
        self._served = served
        self._info = info
        self._template = served.template

    def make(self, prompt: Prompt, sampling: Sampling, *, index: int = 0) -> Request:
        """Make the request for one sample, to be answered by events.

        Raises:
            ConfigError: It is an infill and the model's template is not known, or lacks the order.
            InputError: It is a conversation and the model holds none; or its text may not be
                shown to this model (see `keep_plain`).
            RemoteError: It is token ids alone, and the server reads other ones.
        """
        body = self._settings(prompt, sampling, index)
        if prompt.turns:
            return Request("/chat/completions", body | self._chat(prompt), None)
        if prompt.tokens and not (prompt.prefix or prompt.suffix is not None):
            return Request("/completions", body | self._ids(prompt), None)
        is_apart = self._served.takes_suffix and prompt.suffix is not None
        if self._served.is_ours and not prompt.context:
            apart = {"prompt": prompt.prefix, "suffix": prompt.suffix, "path": prompt.path}
            own = {"mode": sampling.mode, "parse_special": False, "trim": False}
            own |= {"heal": sampling.heal}
            return Request("/completions", body | apart | own, prompt.cut)
        shown = prompt
        if self._template is not None:
            shown = keep_plain(prompt, self._template)
        if self._template is None or (is_apart and not self._served.is_ours):
            if prompt.suffix is not None and not is_apart:
                raise self._unknown_template()
            files = tuple(file.path for file in shown.context)
            cut = replace(shown.cut or Cut(), files=(*(shown.cut or Cut()).files, *files))
            text = {"prompt": shown.prefix}
            text |= {} if shown.suffix is None else {SUFFIX: shown.suffix}
            return Request("/completions", body | text, None if cut == Cut() else cut)
        mode = self._info.mode if sampling.mode == "auto" else sampling.mode
        text = {"prompt": render(shown, self._template, mode=mode)}
        text |= {"parse_special": True} if self._served.is_ours else {}
        return Request("/completions", body | text, shown.cut)

    def stops(self, prompt: Prompt, sampling: Sampling) -> tuple[str, ...]:
        """Give the strings that end a sample, those first that were asked for.

        A family's control tokens are among them, since a server may write them out; ours does not.
        """
        if self._template is None or self._served.is_ours or prompt.turns:
            return sampling.stop
        return (*sampling.stop, *self._template.stops)

    def sizes(self, prompt: Prompt, sampling: Sampling) -> Iterator[int]:
        """Give the numbers of characters to which an infill is to be cut, one try after another.

        For servers that say a prompt is too long, whose tokenizer is not here.
        """
        if prompt.suffix is None:
            return
        room = self._info.context_length
        room -= min(sampling.max_tokens, room // 2) + _FRAME_TOKENS
        length = len(prompt.prefix) + len(prompt.suffix)
        length += sum(len(file.text) for file in prompt.context)
        for chars in _CHARS_PER_TOKEN:
            if 0 < chars * room < length:
                yield int(chars * room)

    def _settings(self, prompt: Prompt, sampling: Sampling, index: int) -> dict[str, Any]:
        """Write what is asked of every prompt alike; what is None is left out."""
        owner, stops = self._served.owner, list(self.stops(prompt, sampling))
        body: dict[str, Any] = {
            "model": self._served.model,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "min_p": sampling.min_p,
            "seed": None if sampling.seed is None else (sampling.seed + index) % 2**63,
            "stop": stops[: None if owner in _STOPS_UNBOUNDED else _MAX_STOPS] or None,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if sampling.logprobs is not None:
            if prompt.turns:
                body |= {"logprobs": True, "top_logprobs": sampling.logprobs}
            else:
                body["logprobs"] = max(sampling.logprobs, 0 if self._served.is_ours else 1)
            body["return_tokens_as_token_ids"] = True
        if owner in ("codegemma", "vllm"):
            body["return_token_ids"] = True
        if self._template is not None and not prompt.turns:
            # Else the control tokens that end a middle neither stop it nor show in its text.
            if owner == "vllm":
                body["skip_special_tokens"] = False
                body["stop_token_ids"] = list(self._template.stop_ids) or None
            elif owner == "llamacpp":
                body["preserved_tokens"] = list(self._template.stops)
        return {name: value for name, value in body.items() if value is not None}

    def _chat(self, prompt: Prompt) -> dict[str, Any]:
        if not self._info.is_instruction:
            raise InputError(
                f"{self._info.name} completes code and holds no conversations; name an "
                "instruction model"
            )
        roles: Mapping[str, str] = {"user": "user", "model": "assistant"}
        turns = [{"role": roles[turn.role], "content": turn.text} for turn in prompt.turns]
        return {"messages": turns}

    def _ids(self, prompt: Prompt) -> dict[str, Any]:
        if self._template is not CODEGEMMA:
            raise RemoteError(
                f"{self._info.name} is no CodeGemma model: our token ids mean other things there"
            )
        return {"prompt": list(prompt.tokens)}

    def _unknown_template(self) -> ConfigError:
        names = ", ".join(template.name for template in TEMPLATES)
        return ConfigError(
            f"how {self._served.model} is asked for an infill does not show in its name: write "
            f"remote:URL#{self._served.model},fim=NAME with one of {names}, or with {SUFFIX} where "
            "the server lays a suffix out itself"
        )
