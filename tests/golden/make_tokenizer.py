# SPDX-License-Identifier: Apache-2.0
"""Makes tests/golden/tokenizer: a small vocabulary in Gemma's layout, and what others read in it.

Run in an environment with transformers 4.x and sentencepiece, from the repository's root, with
`src` on the path. `tokenizer.model` is trained on modules of the standard library;
`tokenizer.json` is transformers' own conversion of it; `encodings.json` holds texts with the ids
that sentencepiece itself gives and, where the two differ, those of the converted file;
`chat.json` holds conversations written out by the released models' template, with the ids that
the converted file reads in them, control tokens included.
"""

import importlib
import io
import json
from pathlib import Path

import sentencepiece
from transformers import GemmaTokenizer
from transformers.convert_slow_tokenizer import convert_slow_tokenizer

from codegemma.text import tokens

OUT = Path(__file__).parent / "tokenizer"
MODULES = ("argparse", "ast", "dataclasses", "difflib", "inspect", "json.decoder", "statistics")
TEXTS = (
    "def f(x):\n    return x + 1\n",
    "class A(B):\n\n\n    def __init__(self):\n        pass\n",
    "a b  c   d    e" + " " * 40 + "f",
    " leading and trailing \n \n  ",
    "x = 1234567890\n\tif\t\ttabs:\r\n",
    "<h1>tags</h1> <s>here</s>\n" + "\n" * 40,
    "\u00e9\u4e2d\u6587 \U0001f600 caf\u00e9 \u03b1\u03b2",
    "\x00\x01\x0c\x7f\u0085\u2028\ufeff",
    "<0x41> <unknown> <|nothing|>",
    'print("Hello, world!")  # comment\n' * 3,
)
CHATS = (
    (("user", "Hi"),),
    (
        ("user", "  What is 1 + 1?\n"),
        ("model", "It ends a turn.\n\n```py\nx = 1\n```"),
        ("user", "\n\tThanks\u00e9"),
    ),
    (("user", ""),),
)


def main() -> None:
    """Write the four files."""
    OUT.mkdir(exist_ok=True)
    files = [Path(str(importlib.import_module(name).__file__)) for name in MODULES]
    lines = [line for file in files for line in file.read_text("utf-8").split("\n")]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        vocab_size=1024,
        minloglevel=2,
        **tokens.trainer_options(tokens.whole_pieces()),
    )
    (OUT / "tokenizer.model").write_bytes(model.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    converted = convert_slow_tokenizer(GemmaTokenizer(str(OUT / "tokenizer.model")))
    converted.save(str(OUT / "tokenizer.json"), pretty=False)
    rows = []
    for text in TEXTS:
        ids = processor.encode(text)
        other = converted.encode(text, add_special_tokens=False).ids
        rows.append({"text": text, "ids": ids} | ({"json_ids": other} if other != ids else {}))
    (OUT / "encodings.json").write_text(json.dumps(rows, indent=0) + "\n", "utf-8")
    rows = []
    for turns in CHATS:
        text = "<bos>"
        for role, content in turns:
            text += f"<start_of_turn>{role}\n{content.strip()}<end_of_turn>\n"
        text += "<start_of_turn>model\n"
        ids = converted.encode(text, add_special_tokens=False).ids
        rows.append({"turns": turns, "text": text, "ids": ids})
    (OUT / "chat.json").write_text(json.dumps(rows, indent=0) + "\n", "utf-8")


if __name__ == "__main__":
    main()
