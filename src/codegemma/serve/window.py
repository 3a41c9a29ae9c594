# SPDX-License-Identifier: Apache-2.0
"""What a model will see of a prompt that is longer than its context, known before it is asked.

Infill is cut around the cursor by `text/budget.py`, and whoever asked is told what was left out;
text that goes on from left to right is refused instead, since its start may be what matters.
"""

from codegemma.completion import Completer, Prompt, Sampling
from codegemma.errors import ContextLengthError
from codegemma.text.budget import Fitted, fit_prompt
from codegemma.text.tokenizer import Tokenizer


def fit_window(prompt: Prompt, sampling: Sampling, completer: Completer) -> Fitted | None:
    """Fit code into a completer's context, leaving room for what is to be drawn.

    Half the context is the prompt's, whatever is asked for. A completer that tokenizes elsewhere
    cuts for itself: None.

    Raises:
        ContextLengthError: A prompt from left to right, or one of token ids, is too long.
        InputError: The prompt cannot be encoded.
    """
    if not isinstance(completer.tokenizer, Tokenizer):
        return None
    info = completer.info
    mode = info.mode if sampling.mode == "auto" else sampling.mode
    is_cut = prompt.suffix is not None
    num_drawn = min(sampling.max_tokens, info.context_length // 2) if is_cut else 1
    room = info.context_length - num_drawn
    fitted = fit_prompt(completer.tokenizer, prompt, mode=mode, max_tokens=room)
    if is_cut or fitted.is_whole:
        return fitted
    num_tokens = len(completer.tokenizer.encode(prompt.prefix)) + 1
    raise ContextLengthError(
        f"the prompt has {num_tokens} tokens, and the context of {info.name} holds "
        f"{info.context_length}, one of them for the completion; only infill, with a suffix "
        "(even an empty one), is cut around the cursor"
    )
