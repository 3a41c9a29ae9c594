# SPDX-License-Identifier: Apache-2.0
"""OpenAI's completions protocol, the way in: a request's JSON to prompts.

With `suffix` (even an empty one) a request is infill: we render the prompt, and nothing in prompt
or suffix can become a control token. Without one it is left to right, unless the prompt already
carries the infill sentinels, as editors write that render the prompt themselves: then those four
spellings are read as control tokens (`parse_special` false turns that off, true forces it).
The way out is `openai_answer.py`; neither does any networking.

Differs: `temperature` is 0 when left out (OpenAI: 1), since code completion wants the likeliest.
"""

import re
from dataclasses import dataclass
from typing import Any, cast

from codegemma.completion import (
    MODES,
    CompleterInfo,
    Prompt,
    Sampling,
    TokenizerProtocol,
)
from codegemma.errors import ConfigError
from codegemma.serve.errors import ApiError
from codegemma.serve.schemas import Fields
from codegemma.text.healing import heal
from codegemma.text.newlines import LineEnd, line_end_of, to_lf
from codegemma.text.tokenizer import Tokenizer
from codegemma.text.tokens import (
    BOS,
    BOS_ID,
    FILE_SEPARATOR,
    FILE_SEPARATOR_ID,
    FIM_MIDDLE,
    FIM_MIDDLE_ID,
    FIM_PREFIX,
    FIM_PREFIX_ID,
    FIM_SUFFIX,
    FIM_SUFFIX_ID,
)

MAX_N = 8
MAX_PROMPTS = 64
MAX_STOPS = 64
_MAX_SEED = 2**63 - 1
_SENTINELS = {
    FIM_PREFIX: FIM_PREFIX_ID,
    FIM_MIDDLE: FIM_MIDDLE_ID,
    FIM_SUFFIX: FIM_SUFFIX_ID,
    FILE_SEPARATOR: FILE_SEPARATOR_ID,
}
_SENTINEL = re.compile("(" + "|".join(map(re.escape, _SENTINELS)) + ")")
_INFILL = (FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE)


@dataclass(frozen=True, kw_only=True, slots=True)
class CompletionRequest:
    """A checked request of `POST /v1/completions`.

    Args:
        model: Name asked for, "" for whichever is served.
        prompts: Texts or token ids, one completion set each.
        suffix: Text after the cursor, None for left to right.
        path: The file's path in its repository (our addition).
        session: Names the editor buffer the prompts come from, whose keys and values are kept apart
            from those of others (our addition).
        sampling: How to draw.
        is_stream: Whether to answer piece by piece.
        has_usage: Whether a stream ends with the token counts.
        is_echo: Whether the prompt is repeated before its completion.
        parse_special: Whether sentinels in a prompt are control tokens; None: if all are there.
        has_ids: Whether the drawn ids are told, in vLLM's words `return_token_ids`.
        names_ids: Whether log probabilities name tokens by id: `return_tokens_as_token_ids`.
        is_raw: Whether an infill is left as it was drawn: `trim` false (our addition).
        has_context: Whether files of the server's repository may stand before an infill: `context`
            (our addition).
    """

    model: str
    prompts: tuple[str | tuple[int, ...], ...]
    suffix: str | None
    path: str | None
    sampling: Sampling
    is_stream: bool
    has_usage: bool
    is_echo: bool
    parse_special: bool | None
    has_ids: bool = False
    names_ids: bool = False
    is_raw: bool = False
    has_context: bool = True
    session: str | None = None

    @property
    def num_choices(self) -> int:
        """Completions the answer holds."""
        return len(self.prompts) * self.sampling.n

    def choice(self, prompt: int, sample: int) -> int:
        """Index in the answer of a prompt's sample: prompts first, then samples."""
        return prompt * self.sampling.n + sample

    def line_end(self, prompt: int) -> LineEnd:
        """Line end of the file a prompt comes from, which its completion gets too."""
        text = self.prompts[prompt]
        return line_end_of(text + (self.suffix or "") if isinstance(text, str) else "")


def parse_completion(body: Fields) -> CompletionRequest:
    """Check a request body.

    Raises:
        ApiError: 400 naming the first field at fault.
    """
    prompts = _prompts(body)
    suffix = body.string("suffix")
    if suffix is not None and any(not isinstance(prompt, str) for prompt in prompts):
        raise ApiError(400, "invalid_value", "suffix needs a prompt of text", param="suffix")
    n = body.integer("n", 1, low=1, high=MAX_N) or 1
    body.unsupported("best_of", neutral=(n,))
    body.unsupported("presence_penalty", neutral=(0,))
    body.unsupported("frequency_penalty", neutral=(0,))
    body.unsupported("logit_bias", neutral=({},))
    is_echo = body.flag("echo", default=False)
    logprobs = body.integer("logprobs", None, low=0, high=20)
    if is_echo and logprobs is not None:
        message = "echo with logprobs is not offered by this server; leave one of them out"
        raise ApiError(400, "unsupported_parameter", message, param="echo")
    return CompletionRequest(
        model=body.string("model") or "",
        prompts=prompts,
        suffix=suffix,
        path=body.string("path"),
        sampling=_sampling(body, n=n, logprobs=logprobs),
        is_stream=body.flag("stream", default=False),
        has_usage=body.record("stream_options").flag("include_usage", default=False),
        is_echo=is_echo,
        parse_special=None
        if body.get("parse_special") is None
        else body.flag("parse_special", True),
        has_ids=body.flag("return_token_ids", default=False),
        names_ids=body.flag("return_tokens_as_token_ids", default=False),
        is_raw=not body.flag("trim", default=True),
        has_context=body.flag("context", default=True),
        session=body.string("session"),
    )


def _sampling(body: Fields, *, n: int, logprobs: int | None) -> Sampling:
    mode = body.string("mode") or "auto"
    if mode not in MODES:
        body.refuse("mode", f"one of {', '.join(MODES)}")
    seed = body.integer("seed", None, low=-1, high=_MAX_SEED)
    top_k = body.integer("top_k", None, low=-1, high=2**31 - 1)
    try:
        return Sampling(
            max_tokens=body.integer("max_tokens", 16, low=1, high=2**20) or 16,
            temperature=body.number("temperature", 0.0, low=0.0, high=100.0) or 0.0,
            top_k=top_k if top_k and top_k > 0 else None,
            top_p=body.number("top_p", None, low=0.0, high=1.0),
            min_p=body.number("min_p", None, low=0.0, high=1.0),
            seed=None if seed == -1 else seed,
            n=n,
            stop=body.strings("stop", most=MAX_STOPS),
            logprobs=logprobs,
            mode=mode,
            heal=body.flag("heal", default=True),
        )
    except ConfigError as error:
        raise ApiError(400, "invalid_value", str(error)) from None


def _prompts(body: Fields) -> tuple[str | tuple[int, ...], ...]:
    value = body.get("prompt")
    if value is None or isinstance(value, str):
        return (body.string("prompt") or "",)
    items = cast("list[Any]", value) if isinstance(value, list) else []
    if not items:
        raise _wrong_prompt()
    if all(_is_id(item) for item in items):
        return (tuple(items),)
    if len(items) > MAX_PROMPTS:
        message = f"prompt must hold at most {MAX_PROMPTS} prompts, not {len(items)}"
        raise ApiError(400, "invalid_value", message, param="prompt")
    return tuple(_prompt(item) for item in items)


def _prompt(item: object) -> str | tuple[int, ...]:
    if isinstance(item, str):
        return Fields({"prompt": item}).string("prompt") or ""
    tokens = cast("list[Any]", item) if isinstance(item, list) else []
    if tokens and all(_is_id(token) for token in tokens):
        return tuple(tokens)
    raise _wrong_prompt()


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _wrong_prompt() -> ApiError:
    message = "prompt must be a string, token ids, or a list of strings or of token ids"
    return ApiError(400, "invalid_value", message, param="prompt")


def to_prompts(request: CompletionRequest, tokenizer: TokenizerProtocol) -> list[Prompt]:
    """Translate a request's prompts to what a completer takes."""
    return [_to_prompt(prompt, request, tokenizer) for prompt in request.prompts]


def _to_prompt(
    prompt: str | tuple[int, ...], request: CompletionRequest, tokenizer: TokenizerProtocol
) -> Prompt:
    if not isinstance(prompt, str):
        return Prompt(tokens=prompt, session=request.session)
    is_special = request.parse_special
    if is_special is None:
        is_special = all(sentinel in prompt for sentinel in _INFILL)
    if request.suffix is None and is_special:
        tokens, typed, seam = encode_special(to_lf(prompt), tokenizer), "", ""
        if request.sampling.heal and isinstance(tokenizer, Tokenizer):
            tokens, typed, seam = heal(tokens, tokenizer=tokenizer)
        return Prompt(tokens=tokens, typed=typed, seam=seam, session=request.session)
    suffix = None if request.suffix is None else to_lf(request.suffix)
    return Prompt(prefix=to_lf(prompt), suffix=suffix, path=request.path, session=request.session)


def encode_special(text: str, tokenizer: TokenizerProtocol) -> tuple[int, ...]:
    """Encode a prompt that a client rendered itself: the four sentinels become control tokens.

    Exactly one `<bos>` comes first, whether the text spells one there or not; every other control
    token's spelling stays text.

    Example:
        "<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>"  ->  (2, 67, *a, 69, *b, 68)
    """
    tokens = [BOS_ID]
    for part in _SENTINEL.split(text.removeprefix(BOS)):
        if part in _SENTINELS:
            tokens.append(_SENTINELS[part])
        elif part:
            tokens.extend(tokenizer.encode(part))
    return tuple(tokens)


def model_ids(info: CompleterInfo) -> tuple[str, ...]:
    """Names a served model answers to, its own first.

    Zed and Continue choose CodeGemma's prompt format by a name such as `codegemma:2b`.
    """
    name = info.name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    size = name.removeprefix("codegemma-")
    size = f"{size.removesuffix('-it')}-instruct" if size.endswith("-it") else size
    return (name, f"codegemma:{size}")


def check_model(request: CompletionRequest, info: CompleterInfo) -> None:
    """Refuse a request for a model that is not served.

    Raises:
        ApiError: 404 naming what is served.
    """
    names = model_ids(info)
    if request.model and request.model not in (*names, info.name, "codegemma"):
        message = f"this server has {names[0]}; leave model out or ask for that"
        raise ApiError(404, "model_not_found", message, param="model")
