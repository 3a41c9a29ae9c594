# SPDX-License-Identifier: Apache-2.0
r"""The conversation format of the instruction models.

    <bos><start_of_turn>user\n{text}<end_of_turn>\n<start_of_turn>model\n{text}<end_of_turn>\n...

Text is stripped, turns alternate and start with the user, there is no system role, and the prompt
ends where the model's turn begins. Control tokens are ids put in here, so nothing written in a
message can end a turn or start another.

Source: the model cards' chat template; CodeGemma, arXiv 2406.11409, 'Inference recommendations'.
"""

from collections.abc import Sequence

from codegemma.completion import Turn
from codegemma.errors import InputError
from codegemma.text.tokenizer import Tokenizer
from codegemma.text.tokens import BOS_ID, END_OF_TURN_ID, EOS_ID, START_OF_TURN_ID


def render_chat(tokenizer: Tokenizer, turns: Sequence[Turn]) -> list[int]:
    """Encode a conversation up to the start of the model's reply, one `<bos>` first.

    Raises:
        InputError: There are no turns, they do not alternate user, model, user..., or the last
            one is not the user's.
    """
    if not turns:
        raise InputError("a conversation needs at least one turn of the user")
    for index, turn in enumerate(turns):
        expected = "model" if index % 2 else "user"
        if turn.role != expected:
            hint = ""
            if turn.role not in ("user", "model"):
                hint = "; these models know no other role: put instructions into the user's turn"
            raise InputError(f"turn {index + 1} must be of {expected}, not {turn.role}{hint}")
    if len(turns) % 2 == 0:
        raise InputError("the last turn of a conversation must be the user's")
    tokens = [BOS_ID, *_turns(tokenizer, [turn.text for turn in turns])]
    return [*tokens, START_OF_TURN_ID, *tokenizer.encode("model\n")]


def render_conversation(tokenizer: Tokenizer, turns: Sequence[str]) -> list[int]:
    """Encode a whole conversation for training: `<bos>`, the turns, `<eos>`.

    Args:
        tokenizer: Vocabulary.
        turns: What was said, the user first, then in turn.
    """
    return [BOS_ID, *_turns(tokenizer, turns), EOS_ID]


def _turns(tokenizer: Tokenizer, turns: Sequence[str]) -> list[int]:
    tokens: list[int] = []
    for index, text in enumerate(turns):
        role = "model" if index % 2 else "user"
        tokens += [START_OF_TURN_ID, *tokenizer.encode(f"{role}\n{text.strip()}")]
        tokens += [END_OF_TURN_ID, *tokenizer.encode("\n")]
    return tokens
