# SPDX-License-Identifier: Apache-2.0
import dataclasses
import threading
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

import pytest

from codegemma.completion import CompleterInfo, Prompt, Sampling, SourceFile
from codegemma.context import beside
from codegemma.context.beside import FilesBeside
from codegemma.text.tokenizer import Tokenizer

Write = Callable[[Mapping[str, str]], Path]
MONEY = SourceFile(path="shop/money.py", text="class Money:\n    amount = 0\n")
PROMPT = Prompt(prefix="from .money import Money\n\nprice = ", suffix="\n", path="shop/price.py")


class Clock:
    """Seconds that pass when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def show(tokenizer: Tokenizer) -> Callable[..., Prompt]:
    def show_files(files: FilesBeside, prompt: Prompt = PROMPT, length: int = 1024) -> Prompt:
        info = CompleterInfo(name="m", context_length=length, mode="psm")
        return files.show(prompt, Sampling(max_tokens=16), tokenizer=tokenizer, info=info)

    return show_files


def test_files_that_a_new_file_has_to_do_with_are_put_before_it(
    shop: Path, write: Write, clock: Clock, show: Callable[..., Prompt]
) -> None:
    files = FilesBeside(shop, clock=clock)

    assert show(files).context == ()  # on disk there is no such file yet, and no import of it
    write({"shop/price.py": "from .money import Money\n"})
    assert show(files).context == ()
    clock.now += beside.MAX_AGE_S
    shown = show(files)
    assert MONEY in shown.context
    assert dataclasses.replace(shown, context=()) == PROMPT


def test_what_is_on_disk_is_shown_as_it_is_now(
    shop: Path, write: Write, clock: Clock, show: Callable[..., Prompt]
) -> None:
    cart = dataclasses.replace(PROMPT, path="shop/customer.py")
    files = FilesBeside(shop, clock=clock)
    assert MONEY in show(files, cart).context

    write({"shop/money.py": "class Money:\n    amount = 1\n"})

    (money,) = [one for one in show(files, cart).context if one.path == "shop/money.py"]
    assert money.text == "class Money:\n    amount = 1\n"


@pytest.mark.parametrize(
    "prompt",
    [
        dataclasses.replace(PROMPT, path=None),
        dataclasses.replace(PROMPT, suffix=None),
        dataclasses.replace(PROMPT, context=(SourceFile(path="a", text="b"),)),
        Prompt(tokens=(2, 5), path="shop/customer.py"),
        dataclasses.replace(PROMPT, path="../shop/customer.py"),
        dataclasses.replace(PROMPT, path="/etc/passwd"),
    ],
    ids=["no path", "left to right", "own files", "tokens", "outside", "absolute"],
)
def test_other_prompts_come_back_as_they_are(
    prompt: Prompt, shop: Path, show: Callable[..., Prompt]
) -> None:
    assert show(FilesBeside(shop), prompt) == prompt


def test_while_a_user_types_the_files_stay_the_same(
    shop: Path, write: Write, show: Callable[..., Prompt]
) -> None:
    long = "".join(f"def f{i}():\n    return {i}\n\n\n" for i in range(400))
    write({"shop/money.py": long})
    files = FilesBeside(shop)
    seen: list[tuple[SourceFile, ...]] = []
    for number in range(64):
        typed = dataclasses.replace(PROMPT, path="shop/customer.py", prefix="x = 1\n" * number)
        seen.append(show(files, typed).context)

    changes = sum(one != other for one, other in pairwise(seen))
    assert all(seen)
    assert 1 <= changes <= 6  # about 250 tokens were typed, and 64 are a sixteenth


def test_a_file_that_fills_the_context_is_shown_alone(
    shop: Path, show: Callable[..., Prompt]
) -> None:
    full = dataclasses.replace(PROMPT, path="shop/customer.py", prefix="x = 1\n" * 1000)

    assert show(FilesBeside(shop), full) == full


def test_many_threads_ask_at_one_time(shop: Path, show: Callable[..., Prompt]) -> None:
    files = FilesBeside(shop)
    prompt = dataclasses.replace(PROMPT, path="shop/customer.py")
    found: list[Prompt] = []
    threads = [threading.Thread(target=lambda: found.append(show(files, prompt))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 8
    assert len(set(found)) == 1
    assert MONEY in found[0].context
