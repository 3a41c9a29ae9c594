# SPDX-License-Identifier: Apache-2.0
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codegemma.completion import Cut, Prompt, SourceFile
from codegemma.errors import ConfigError, InputError
from codegemma.text import templates
from codegemma.text.templates import (
    CODE_LLAMA,
    CODEGEMMA,
    DEEPSEEK_CODER,
    QWEN_CODER,
    STARCODER2,
    TEMPLATES,
    find_template,
    keep_plain,
    render,
    shorten,
    template_by_name,
)

BARE = Prompt(prefix="def f(", suffix="\n\nf(1)\n")
WHOLE = Prompt(
    prefix="def f(",
    suffix="\n\nf(1)\n",
    path="pkg/b.py",
    context=(SourceFile(path="pkg/a.py", text="x = 1\n"),),
)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (CODEGEMMA, "<|fim_prefix|>def f(<|fim_suffix|>\n\nf(1)\n<|fim_middle|>"),
        (STARCODER2, "<fim_prefix>def f(<fim_suffix>\n\nf(1)\n<fim_middle>"),
        (
            DEEPSEEK_CODER,
            "<\uff5cfim\u2581begin\uff5c>def f(<\uff5cfim\u2581hole\uff5c>\n\nf(1)\n"
            "<\uff5cfim\u2581end\uff5c>",
        ),
        (QWEN_CODER, "<|fim_prefix|>def f(<|fim_suffix|>\n\nf(1)\n<|fim_middle|>"),
        (CODE_LLAMA, "\u2581<PRE>def f(\u2581<SUF>\n\nf(1)\n\u2581<MID>"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_middle_of_one_file_is_asked_for_as_published(template, text):
    assert render(BARE, template) == text
    assert render(BARE, template, mode="psm") == text


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (
            CODEGEMMA,
            "pkg/a.py\nx = 1\n<|file_separator|>pkg/b.py\n"
            "<|fim_prefix|>def f(<|fim_suffix|>\n\nf(1)\n<|fim_middle|>",
        ),
        (
            STARCODER2,
            "<repo_name>repository<file_sep>pkg/a.py\nx = 1\n<file_sep>"
            "<fim_prefix>pkg/b.py\ndef f(<fim_suffix>\n\nf(1)\n<fim_middle>",
        ),
        (
            DEEPSEEK_CODER,
            "<\uff5cfim\u2581begin\uff5c>#pkg/a.py\nx = 1\n\n#pkg/b.py\ndef f("
            "<\uff5cfim\u2581hole\uff5c>\n\nf(1)\n<\uff5cfim\u2581end\uff5c>",
        ),
        (
            QWEN_CODER,
            "<|repo_name|>repository\n<|file_sep|>pkg/a.py\nx = 1\n\n<|file_sep|>pkg/b.py\n"
            "<|fim_prefix|>def f(<|fim_suffix|>\n\nf(1)\n<|fim_middle|>",
        ),
        (CODE_LLAMA, "\u2581<PRE>def f(\u2581<SUF>\n\nf(1)\n\u2581<MID>"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_path_and_other_files_stand_where_the_family_learned_them(template, text):
    assert render(keep_plain(WHOLE, template), template) == text


def test_suffix_can_come_first_where_a_family_learned_that():
    assert (
        render(WHOLE, CODEGEMMA, mode="spm") == "pkg/a.py\nx = 1\n<|file_separator|>pkg/b.py\n"
        "<|fim_suffix|>\n\nf(1)\n<|fim_prefix|>def f(<|fim_middle|>"
    )
    assert (
        render(BARE, CODEGEMMA, mode="spm2")
        == "<|fim_prefix|><|fim_suffix|>\n\nf(1)\n<|fim_middle|>def f("
    )
    assert (
        render(BARE, CODE_LLAMA, mode="spm2") == "\u2581<PRE>\u2581<SUF>\n\nf(1)\n\u2581<MID>def f("
    )
    with pytest.raises(ConfigError, match="starcoder2 is asked in the order psm, not spm"):
        render(BARE, STARCODER2, mode="spm")


def test_text_from_left_to_right_has_no_sentinels():
    alone = Prompt(prefix="def f(")

    assert {render(alone, template) for template in TEMPLATES} == {"def f("}
    assert (
        render(Prompt(prefix="def f(", path="b.py"), QWEN_CODER)
        == "<|repo_name|>repository\n<|file_sep|>b.py\ndef f("
    )


def test_braces_in_code_are_code():
    braces = Prompt(prefix="{suffix}{0", suffix="}{prefix}")

    assert render(braces, STARCODER2) == "<fim_prefix>{suffix}{0<fim_suffix>}{prefix}<fim_middle>"


def test_what_ends_a_middle_is_that_of_the_publications():
    stops = {template.name: template.stops for template in TEMPLATES}
    ids = {template.name: template.stop_ids for template in TEMPLATES}

    assert stops["codegemma"][0] == "<|file_separator|>"
    assert stops["starcoder2"][:2] == ("<file_sep>", "<|endoftext|>")
    assert stops["deepseek-coder"][0] == "<\uff5cend\u2581of\u2581sentence\uff5c>"
    assert stops["qwen2.5-coder"][:2] == ("<|endoftext|>", "<|file_sep|>")
    assert stops["codellama"][0] == "\u2581<EOT>"
    assert ids == {
        "codegemma": (1, 67, 68, 69, 70),
        "starcoder2": (0, 1, 2, 3, 6),
        "deepseek-coder": (),  # differ among its generations: the strings do
        "qwen2.5-coder": (151643, 151645, 151659, 151661, 151662, 151663, 151664),
        "codellama": (2, 32010),
    }


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("google/codegemma-2b", "codegemma"),
        ("codegemma:7b-code", "codegemma"),
        ("bigcode/starcoder2-3b", "starcoder2"),
        ("starcoder2:7b", "starcoder2"),
        ("deepseek-ai/deepseek-coder-1.3b-base", "deepseek-coder"),
        ("DeepSeek-Coder-V2-Lite-Base", "deepseek-coder"),
        ("Qwen/Qwen2.5-Coder-1.5B", "qwen2.5-coder"),
        ("qwen2.5-coder:7b-base", "qwen2.5-coder"),
        ("qwen2.5_coder_1.5b_q8_0.gguf", "qwen2.5-coder"),
        ("codellama/CodeLlama-7b-hf", "codellama"),
        ("codellama:7b-code", "codellama"),
        ("bigcode/starcoderbase", None),
        ("Qwen/Qwen2.5-7B", None),
        ("Qwen/CodeQwen1.5-7B", None),
        ("meta-llama/Llama-3-8B", None),
    ],
)
def test_a_family_is_known_by_the_name_its_models_are_served_under(model, name):
    assert getattr(find_template(model), "name", None) == name


def test_a_template_is_known_by_its_name():
    assert template_by_name("codellama") is CODE_LLAMA
    with pytest.raises(ConfigError, match="no infill template 'gpt'; there are codegemma, star"):
        template_by_name("gpt")


@pytest.mark.parametrize(
    ("template", "written"),
    [
        (CODEGEMMA, "<|fim_middle|>"),
        (CODEGEMMA, "<bos>"),
        (CODEGEMMA, "<start_of_turn>"),
        (STARCODER2, "<file_sep>"),
        (STARCODER2, "<|endoftext|>"),
        (DEEPSEEK_CODER, "<\uff5cfim\u2581hole\uff5c>"),
        (DEEPSEEK_CODER, "<\uff5cbegin\u2581of\u2581sentence\uff5c>"),
        (QWEN_CODER, "<|im_start|>"),
        (QWEN_CODER, "<|file_sep|>"),
        (CODE_LLAMA, "\u2581<MID>"),
        (CODE_LLAMA, "</s>"),
    ],
)
def test_written_control_tokens_are_taken_out_around_the_cursor(template, written):
    prompt = Prompt(
        prefix=f"a = {written!r}\nb = {written}\nc = ",
        suffix=f"\nd = 1\n{written} e",
        context=(
            SourceFile(path="x.py", text=f"print({written!r})"),
            SourceFile(path="y.py", text="fine"),
        ),
    )

    plain = keep_plain(prompt, template)

    assert (plain.prefix, plain.suffix) == ("\nc = ", "\nd = 1\n")
    assert plain.cut == Cut(
        prefix_chars=len(prompt.prefix) - 5,
        suffix_chars=len(written) + 2,
        files=("x.py",) if template.file else ("x.py", "y.py"),
    )
    rest = template.controls.sub("", render(plain, template))
    assert written not in rest


def test_written_control_tokens_are_refused_where_nothing_may_be_lost():
    with pytest.raises(InputError, match=r"the text holds <\|im_end\|>, which a model of qwen2"):
        keep_plain(Prompt(prefix="a <|im_end|> b"), QWEN_CODER)
    with pytest.raises(InputError, match="the path holds <file_sep>"):
        keep_plain(Prompt(prefix="", suffix="", path="<file_sep>a.py"), STARCODER2)
    with pytest.raises(InputError, match="a path must be one line"):
        keep_plain(Prompt(prefix="", suffix="", path="a\nb"), STARCODER2)


def test_plain_prompts_stay_as_they_are():
    assert keep_plain(WHOLE, QWEN_CODER) is not None
    assert keep_plain(WHOLE, QWEN_CODER) == WHOLE
    assert keep_plain(BARE, CODE_LLAMA).cut is None


_PIECES = ("<", "|", ">", "_", "fim", "prefix", "<|fim_prefix|>", "<file_sep>", "\u2581<SUF>")
_TEXTS = st.lists(st.sampled_from((*_PIECES, "</s>", "a", "\n", "\uff5c", "\u2581")), max_size=12)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)
@settings(max_examples=60)
@given(prefix=_TEXTS, suffix=_TEXTS, text=_TEXTS)
def test_the_only_control_tokens_of_a_prompt_are_the_templates_own(template, prefix, suffix, text):
    prompt = Prompt(
        prefix="".join(prefix),
        suffix="".join(suffix),
        path="a.py",
        context=(SourceFile(path="b.py", text="".join(text)),),
    )
    plain = keep_plain(prompt, template)
    emptied = tuple(SourceFile(path=file.path, text="") for file in plain.context)
    empty = Prompt(prefix="", suffix="", path="a.py", context=emptied)

    found = template.controls.findall(render(plain, template))

    assert found == template.controls.findall(render(empty, template))


def test_a_prompt_is_cut_around_its_cursor_at_line_borders():
    prefix = "".join(f"line {number:03}\n" for number in range(100))
    suffix = "".join(f"after {number:03}\n" for number in range(100))
    prompt = Prompt(prefix=prefix, suffix=suffix, path="a.py", context=WHOLE.context)

    short = shorten(prompt, max_chars=404)

    assert short.prefix.startswith("line 067\n")
    assert prefix.endswith(short.prefix)
    assert suffix.startswith(short.suffix)
    assert short.suffix.endswith("\n")
    assert 340 <= len(short.prefix) + len(short.suffix) <= 400
    assert short.context == ()
    assert short.cut == Cut(
        prefix_chars=900 - len(short.prefix),
        suffix_chars=1000 - len(short.suffix),
        files=("pkg/a.py",),
    )


def test_what_one_side_does_not_need_goes_to_the_other():
    assert shorten(Prompt(prefix="a" * 90, suffix="b"), max_chars=50).prefix == "a" * 49
    assert shorten(Prompt(prefix="a", suffix="b" * 90), max_chars=50).suffix == "b" * 49
    assert shorten(BARE, max_chars=1000) == BARE
    assert shorten(Prompt(prefix="a" * 9, suffix="b" * 9, path="p" * 20), max_chars=5).prefix == ""


def test_every_stop_is_a_control_token_of_its_family():
    assert [
        (template.name, stop)
        for template in TEMPLATES
        for stop in template.stops
        if not re.fullmatch(rf" ?(?:{template.controls.pattern})", stop)
    ] == []
    assert templates.REPOSITORY == "repository"
