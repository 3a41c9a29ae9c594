# SPDX-License-Identifier: Apache-2.0
r"""Fill-in-the-middle prompts as text, of CodeGemma and of the models it is compared with.

For a server that takes a prompt as one string and reads control tokens in it by their spelling.
There nothing tells a sentinel that we wrote from one that stands in a user's file, so text never
holds one: `keep_plain` takes it out before `render` puts the real ones in. A model that runs in
this process needs none of this: `fim.py` writes ids.

Without context files and a path the prompts are, by the order of their parts:

    codegemma       <|fim_prefix|>P<|fim_suffix|>S<|fim_middle|>, and both SPM orders of `fim.py`
    starcoder2      <fim_prefix>P<fim_suffix>S<fim_middle>
    deepseek-coder  <|fim^begin|>P<|fim^hole|>S<|fim^end|>, where | is U+FF5C and ^ is U+2581
    qwen2.5-coder   <|fim_prefix|>P<|fim_suffix|>S<|fim_middle|>
    codellama       ^<PRE>P^<SUF>S^<MID>, and in SPM order ^<PRE>^<SUF>S^<MID>P

Source: CodeGemma, arXiv 2406.11409, figure 4. StarCoder 2, arXiv 2402.19173, section 5.3, and the
model cards. DeepSeek-Coder, arXiv 2401.14196, section 3.1.2, and the README's 'Code Insertion' and
'Repository Level Code Completion'. Qwen2.5-Coder, arXiv 2409.12186, figures 3 and 4, and the
repository's `examples/`. Code Llama, arXiv 2308.12950, section 2.3, and
`infilling_prompt_tokens` in its `llama/generation.py`; spelled without blanks as in MultiPL-E,
since they only stand for what SentencePiece puts before a word.
Unstated: a name for the repository, which two of the formats want: it is REPOSITORY.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from codegemma.completion import Cut, Mode, Prompt
from codegemma.errors import ConfigError, InputError
from codegemma.text.budget import PREFIX_FRACTION
from codegemma.text.tokens import (
    EOS,
    FILE_SEPARATOR,
    FIM_MIDDLE,
    FIM_PREFIX,
    FIM_SUFFIX,
    INFILL_STOP_IDS,
    RESERVED_PIECES,
)

REPOSITORY: Final = "repository"
"""What a repository is called where a format asks for its name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Template:
    """How one family of models is asked for a middle.

    Args:
        name: As an option spells it.
        served_as: What the names of its models hold, in lower case.
        orders: Layout of a prompt by order, with {files}, {line}, {prefix} and {suffix}.
        stops: Spellings that end a middle.
        controls: All spellings that its vocabulary reads as control tokens.
        stop_ids: Ids of control tokens that end a middle, where they are the same in all models
            of the family; for servers that leave control tokens out of the text.
        file: One context file, with {path} and {text}; None: the family was not shown several.
        line: The current file's path line, with {path}.
        start: Before the first file, if there is a context or a path.
        opening: Before the current file, if there is a context or a path.
    """

    name: str
    served_as: re.Pattern[str]
    orders: Mapping[Mode, str]
    stops: tuple[str, ...]
    controls: re.Pattern[str]
    stop_ids: tuple[int, ...] = ()
    file: str | None = None
    line: str = ""
    start: str = ""
    opening: str = ""


def _orders(**orders: str) -> Mapping[Mode, str]:
    return MappingProxyType(dict(orders))  # pyright: ignore[reportReturnType]  # keys are modes


CODEGEMMA: Final = Template(
    name="codegemma",
    served_as=re.compile(r"codegemma"),
    orders=_orders(
        psm=f"{{files}}{{line}}{FIM_PREFIX}{{prefix}}{FIM_SUFFIX}{{suffix}}{FIM_MIDDLE}",
        spm=f"{{files}}{{line}}{FIM_SUFFIX}{{suffix}}{FIM_PREFIX}{{prefix}}{FIM_MIDDLE}",
        spm2=f"{{files}}{{line}}{FIM_PREFIX}{FIM_SUFFIX}{{suffix}}{FIM_MIDDLE}{{prefix}}",
    ),
    stops=(FILE_SEPARATOR, FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE, EOS),
    controls=re.compile("|".join(map(re.escape, RESERVED_PIECES))),
    stop_ids=tuple(sorted(INFILL_STOP_IDS)),
    file=f"{{path}}\n{{text}}{FILE_SEPARATOR}",
    line="{path}\n",
)

STARCODER2: Final = Template(
    name="starcoder2",
    served_as=re.compile(r"starcoder-?2"),
    orders=_orders(
        psm="{files}<fim_prefix>{line}{prefix}<fim_suffix>{suffix}<fim_middle>",
    ),
    stops=("<file_sep>", "<|endoftext|>", "<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    stop_ids=(0, 1, 2, 3, 6),
    controls=re.compile(
        r"<\|endoftext\|>|<(?:fim|repo|file|issue|jupyter|pr)_[a-z_]+>|<pr>|<empty_output>"
        r"|<code_to_intermediate>|<intermediate_to_code>"
    ),
    file="<file_sep>{path}\n{text}",
    line="{path}\n",
    start=f"<repo_name>{REPOSITORY}",
    opening="<file_sep>",
)

_BEGIN, _HOLE, _END = (f"<\uff5cfim\u2581{word}\uff5c>" for word in ("begin", "hole", "end"))
DEEPSEEK_CODER: Final = Template(
    name="deepseek-coder",
    served_as=re.compile(r"deepseek-?coder"),
    orders=_orders(psm=f"{_BEGIN}{{files}}{{line}}{{prefix}}{_HOLE}{{suffix}}{_END}"),
    stops=("<\uff5cend\u2581of\u2581sentence\uff5c>", "<|EOT|>", _BEGIN, _HOLE, _END),
    controls=re.compile(r"<\uff5c[^<>\n]*\uff5c>|<\|(?:EOT|User|Assistant)\|>|<pad>"),
    file="#{path}\n{text}\n",
    line="#{path}\n",
)

QWEN_CODER: Final = Template(
    name="qwen2.5-coder",
    served_as=re.compile(r"qwen-?(?:2\.5|3)-?coder"),
    orders=_orders(
        psm=f"{{files}}{{line}}{FIM_PREFIX}{{prefix}}{FIM_SUFFIX}{{suffix}}{FIM_MIDDLE}",
    ),
    stops=(
        *("<|endoftext|>", "<|file_sep|>", "<|fim_pad|>", "<|repo_name|>", "<|im_end|>"),
        *(FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE),
    ),
    controls=re.compile(r"<\|[a-z_]+\|>|</?tool_call>"),
    stop_ids=(151643, 151645, 151659, 151661, 151662, 151663, 151664),
    file="<|file_sep|>{path}\n{text}\n",
    line="{path}\n",
    start=f"<|repo_name|>{REPOSITORY}\n",
    opening="<|file_sep|>",
)

CODE_LLAMA: Final = Template(
    name="codellama",
    served_as=re.compile(r"code-?llama"),
    orders=_orders(
        psm="\u2581<PRE>{prefix}\u2581<SUF>{suffix}\u2581<MID>",
        spm2="\u2581<PRE>\u2581<SUF>{suffix}\u2581<MID>{prefix}",
    ),
    stops=("\u2581<EOT>", " <EOT>", "<EOT>", "</s>"),
    controls=re.compile(r"\u2581?<(?:PRE|SUF|MID|EOT)>|</?s>|<unk>|<FILL_ME>"),
    stop_ids=(2, 32010),
)

TEMPLATES: Final = (CODEGEMMA, STARCODER2, DEEPSEEK_CODER, QWEN_CODER, CODE_LLAMA)
"""All there are."""


def find_template(model: str) -> Template | None:
    """Tell a model's template by the name it is served under, None if that says nothing."""
    name = model.lower().replace("_", "-")
    return next((each for each in TEMPLATES if each.served_as.search(name)), None)


def template_by_name(name: str) -> Template:
    """Give the template of a name.

    Raises:
        ConfigError: There is none of that name.
    """
    for template in TEMPLATES:
        if template.name == name:
            return template
    names = ", ".join(template.name for template in TEMPLATES)
    raise ConfigError(f"there is no infill template {name!r}; there are {names}")


def render(prompt: Prompt, template: Template, *, mode: Mode = "auto") -> str:
    """Write a prompt of code as a model of the family reads it, without `<bos>`.

    Args:
        prompt: Code, after `keep_plain`.
        template: The family's.
        mode: Order of an infill; "auto" is PSM.

    Raises:
        ConfigError: The family knows no such order.
    """
    files = ""
    if prompt.context or prompt.path:
        shown = prompt.context if template.file else ()
        parts = [(template.file or "").format(path=file.path, text=file.text) for file in shown]
        files = template.start + "".join(parts) + template.opening
    line = template.line.format(path=prompt.path) if prompt.path else ""
    if prompt.suffix is None:
        return files + line + prompt.prefix
    order = template.orders.get("psm" if mode == "auto" else mode)
    if order is None:
        known = ", ".join(template.orders)
        raise ConfigError(f"{template.name} is asked in the order {known}, not {mode}")
    return order.format(files=files, line=line, prefix=prompt.prefix, suffix=prompt.suffix)


def keep_plain(prompt: Prompt, template: Template) -> Prompt:
    """Take out of a prompt of code what the family's vocabulary would read as a control token.

    Of an infill the prefix keeps what follows the last such spelling, the suffix what comes before
    the first; a context file that holds one is left out, as all are where the family knows no
    context. `cut` says what was lost.

    Raises:
        InputError: A text that goes on from left to right, or a path, holds such a spelling.
    """
    for name, text in (("path", prompt.path or ""), ("text", _whole(prompt))):
        found = template.controls.search(text)
        if found is not None:
            raise InputError(
                f"the {name} holds {found[0]}, which a model of {template.name} reads as a control "
                "token; take it out"
            )
        if "\n" in text and name == "path":
            raise InputError(f"a path must be one line, not {text!r}")
    kept = tuple(
        file
        for file in prompt.context
        if template.file and not template.controls.search(f"{file.path}\n{file.text}")
    )
    prefix, suffix = prompt.prefix, prompt.suffix
    if suffix is not None:
        *_, start = 0, *(found.end() for found in template.controls.finditer(prefix))
        prefix = prefix[start:]
        found = template.controls.search(suffix)
        suffix = suffix[: found.start()] if found else suffix
    return _lost(prompt, replace(prompt, prefix=prefix, suffix=suffix, context=kept))


def shorten(prompt: Prompt, *, max_chars: int) -> Prompt:
    """Cut an infill prompt to a number of characters around its cursor; `cut` says what was lost.

    For where there is no tokenizer: context files go first, then what is far from the cursor, at
    line borders where one is near.
    """
    suffix = prompt.suffix or ""
    room = max(0, max_chars - len(prompt.path or ""))
    prefix_room = max(int(room * PREFIX_FRACTION), room - len(suffix))
    prefix = prompt.prefix
    if len(prefix) > prefix_room:
        prefix = prefix[len(prefix) - prefix_room :]
        border = prefix.find("\n", 0, len(prefix) // 8)
        prefix = prefix[border + 1 :]
    if len(suffix) > room - len(prefix):
        suffix = suffix[: room - len(prefix)]
        border = suffix.rfind("\n", len(suffix) - len(suffix) // 8)
        suffix = suffix[: border + 1] if border >= 0 else suffix
    return _lost(prompt, replace(prompt, prefix=prefix, suffix=suffix, context=()))


def _whole(prompt: Prompt) -> str:
    """Give the text that may lose nothing: all of it where it goes on from left to right."""
    return prompt.prefix if prompt.suffix is None else ""


def _lost(before: Prompt, after: Prompt) -> Prompt:
    """Note in a prompt what it lost, now and earlier."""
    earlier = before.cut or Cut()
    files = (file.path for file in before.context if file not in after.context)
    cut = Cut(
        prefix_chars=earlier.prefix_chars + len(before.prefix) - len(after.prefix),
        suffix_chars=earlier.suffix_chars + len(before.suffix or "") - len(after.suffix or ""),
        files=(*earlier.files, *files),
    )
    return replace(after, cut=None if cut == Cut() else cut)
