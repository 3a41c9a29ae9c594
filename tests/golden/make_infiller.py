# SPDX-License-Identifier: Apache-2.0
"""Makes tests/golden/infiller: a tiny model that knows the middles `verify` asks for by heart.

It was shown each bundled file under the three infill orders, with its middle, and under exchanged
sentinels with empty lines in the middle's place; so its sentinels mean something to it. Run from
the repository's root: `python tests/golden/make_infiller.py`. Some minutes on two cores.
"""

import dataclasses
import shutil
import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from codegemma.completion import Prompt
from codegemma.generate.middles import MODES, exchanges, read_middles
from codegemma.model.checkpoint import save_checkpoint
from codegemma.model.config import tiny
from codegemma.model.metadata import Metadata
from codegemma.model.params import init_params
from codegemma.model.transformer import forward, unembed
from codegemma.text.fim import render_prompt
from codegemma.text.tokenizer import Tokenizer
from codegemma.text.tokens import FILE_SEPARATOR_ID

GOLDEN = Path(__file__).parent
LENGTH, BATCH, STEPS = 320, 16, 900


def examples(tokenizer):
    """Ids of every example, and which of them count in the loss: the middle and its end."""
    blank = tokenizer.encode("\n")
    for middle in read_middles():
        prompt = Prompt(prefix=middle.split.prefix, suffix=middle.split.suffix, path=middle.path)
        known = [*tokenizer.encode(middle.split.middle), FILE_SEPARATOR_ID]
        for mode in MODES:
            context = render_prompt(tokenizer, prompt, mode=mode)
            yield context, known
            for exchange in exchanges() if mode != "spm2" else ():
                yield [exchange.get(token, token) for token in context], blank * len(known)


def main():
    tokenizer = Tokenizer.from_folder(GOLDEN / "tokenizer")
    config = dataclasses.replace(
        tiny(vocab_size=tokenizer.vocab_size),
        name="infiller",
        width=64,
        ffw_dim=192,
        context_length=512,
    )
    rows = list(examples(tokenizer))
    right = [row for row in rows if row[1][-1] == FILE_SEPARATOR_ID]
    wrong = [row for row in rows if row[1][-1] != FILE_SEPARATOR_ID]
    schedule = optax.warmup_cosine_decay_schedule(0, 4e-3, 50, STEPS, 1e-4)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule, b2=0.98))
    params = init_params(config, key=jax.random.key(0))
    state = optimizer.init(params)

    @jax.jit
    def step(params, state, tokens, weights):
        def loss(params):
            logits = unembed(params, forward(params, tokens[:, :-1], config=config))
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:])
            return (losses * weights[:, 1:]).sum() / weights[:, 1:].sum()

        value, grads = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, value

    rng = np.random.default_rng(0)
    for number in range(STEPS):
        tokens = np.zeros((BATCH, LENGTH), np.int32)
        weights = np.zeros((BATCH, LENGTH), np.float32)
        for index in range(BATCH):
            kind = right if index % 2 else wrong
            context, middle = kind[rng.integers(len(kind))]
            tokens[index, : len(context) + len(middle)] = [*context, *middle]
            weights[index, : len(context)] = 0.02
            weights[index, len(context) : len(context) + len(middle)] = 1
        params, state, value = step(params, state, jnp.asarray(tokens), jnp.asarray(weights))
        if number % 50 == 0:
            sys.stderr.write(f"step {number} loss {float(value):.3f}\n")

    with tempfile.TemporaryDirectory() as folder:
        # Apart from its tokenizer.json, which would travel with it.
        vocabulary = shutil.copy(GOLDEN / "tokenizer" / "tokenizer.model", folder)
        save_checkpoint(
            GOLDEN / "infiller",
            config=config,
            params=params,
            tokenizer_file=Path(vocabulary),
            metadata=Metadata(name="infiller", licence="Apache-2.0"),
            dtype="bfloat16",
            replace=True,
        )


if __name__ == "__main__":
    main()
