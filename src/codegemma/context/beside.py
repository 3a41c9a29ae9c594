# SPDX-License-Identifier: Apache-2.0
"""Keep one repository at hand for a server, and put its files before the prompts that come from it.

Takes infill prompts that name their path; gives them with the files that `choose` finds worth
showing. Changes on disk are seen within a second. Safe to call from many threads.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from codegemma.completion import CompleterInfo, Prompt, Sampling, TokenizerProtocol
from codegemma.context.choose import MIN_TOKENS, choose
from codegemma.context.index import RepositoryIndex
from codegemma.text.budget import infill_room, spare_tokens

MAX_AGE_S: Final = 1.0
"""How old what is known of the disk may be."""

_STEP_FRACTION: Final = 16


class FilesBeside:
    """The files of a repository, for prompts from anywhere in it.

    Args:
        root: Folder of the repository.
        cache: File to keep what was read in; None keeps nothing.
        clock: Gives seconds, of any beginning.
    """

    def __init__(
        self,
        root: Path,
        *,
        cache: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._index = RepositoryIndex(root, cache=cache)
        self._clock = clock
        self._looked_at: float | None = None
        self._lock = threading.Lock()

    def refresh(self) -> None:
        """Look at the disk, unless that was done within the last second."""
        with self._lock:
            now = self._clock()
            if self._looked_at is None or now - self._looked_at >= MAX_AGE_S:
                self._index.refresh()
                self._looked_at = now

    def show(
        self,
        prompt: Prompt,
        sampling: Sampling,
        *,
        tokenizer: TokenizerProtocol,
        info: CompleterInfo,
    ) -> Prompt:
        """Put other files before an infill prompt, in the tokens that it leaves.

        What is left is rounded down to sixteenths of the room: while a user types, the files
        before the prompt stay the same, and so does a cache of them.

        Args:
            prompt: Code; one that has no path, no suffix, or files already comes back as it is.
            sampling: `max_tokens` and `mode` count.
            tokenizer: The completer's.
            info: What the completer is.

        Raises:
            ContextLengthError: The path is too long.
            InputError: The path holds a line break, or text a lone surrogate.
        """
        if prompt.path is None or prompt.suffix is None or prompt.tokens or prompt.context:
            return prompt
        spare = spare_tokens(prompt, sampling, tokenizer=tokenizer, info=info)
        spare -= spare % max(1, infill_room(sampling, info) // _STEP_FRACTION)
        if spare < MIN_TOKENS:
            return prompt
        self.refresh()
        with self._lock:
            shown = choose(self._index, prompt.path, tokenizer=tokenizer, max_tokens=spare)
        return replace(prompt, context=tuple(one.file for one in shown))
