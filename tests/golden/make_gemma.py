# SPDX-License-Identifier: Apache-2.0
"""Make the golden checkpoints: tiny Gemma models trained and run by transformers, not by us.

    pip install -r requirements/reference.txt sentencepiece
    python tests/golden/make_gemma.py

Writes `gemma_mqa` (one key/value head, as the 2B), `gemma_mha` (heads times head width unlike the
model width, as the 7B) and `gemma_gqa` (two query heads per key/value head) beside this file: a
Hugging Face folder each, without the tokenizer, which is `tokenizer/tokenizer.model`, and
`golden.npz` with
    tokens          int32   [2, 24]      rows of held-out code, `<bos>` first
    logits          float32 [2, 24, V]   of the float32 model
    kl_bf16         float32 [2, 24]      KL divergence of the bfloat16 model's logits from them
    prompts         int32   [8, 12]      prompts of 5 to 12 tokens, padded on the right with 0
    prompt_lengths  int32   [8]
    greedy          int32   [8, 64]      greedy continuations in float32
Norm weights start at random values and are not trained; the others are, on the standard library's
code, because an untrained model echoes its input and would agree with nearly anything. Weights are
rounded to bfloat16 before anything is recorded. A prompt is kept only if its continuation is not a
short loop and no greedy step is a close call, so that rounding alone cannot change the tokens.
"""

import pathlib
import sysconfig

import numpy as np
import sentencepiece
import torch
import transformers
from transformers import GemmaConfig, GemmaForCausalLM

HERE = pathlib.Path(__file__).parent
BOS_ID = 2
SHAPES = {
    "gemma_mqa": {"num_attention_heads": 3, "num_key_value_heads": 1},
    "gemma_mha": {"num_attention_heads": 4, "num_key_value_heads": 4},
    "gemma_gqa": {"num_attention_heads": 4, "num_key_value_heads": 2},
}
WIDTH, HEAD_DIM = 48, 16
NUM_STEPS, BATCH_SIZE, ROW_LENGTH, PEAK_RATE = 800, 8, 96, 5e-3
NUM_PROMPTS, NUM_GREEDY, MIN_DISTINCT = 8, 64, 12
CLOSE_CALL = 2e-3


def read_code() -> np.ndarray:
    """Tokens of some modules, one after the other."""
    tokenizer = sentencepiece.SentencePieceProcessor(str(HERE / "tokenizer" / "tokenizer.model"))
    folder = pathlib.Path(sysconfig.get_paths()["stdlib"])
    names = ("argparse", "ast", "configparser", "csv", "dataclasses", "inspect", "shutil", "typing")
    texts = [(folder / f"{name}.py").read_text("utf-8") for name in names]
    return np.concatenate([np.array(tokenizer.encode(text), np.int64) for text in texts])


def rows(tokens: np.ndarray, *, starts: np.ndarray, length: int) -> torch.Tensor:
    """Cut rows that begin with `<bos>`."""
    cut = [[BOS_ID, *tokens[start : start + length - 1]] for start in starts]
    return torch.tensor(np.array(cut, np.int64))


def train(model: GemmaForCausalLM, tokens: np.ndarray, rng: np.random.Generator) -> None:
    """Train in place, norms apart."""
    learned = [p for name, p in model.named_parameters() if "norm" not in name]
    optimizer = torch.optim.AdamW(learned, weight_decay=0.01)
    for step in range(NUM_STEPS):
        starts = rng.integers(0, len(tokens) - ROW_LENGTH, BATCH_SIZE)
        batch = rows(tokens, starts=starts, length=ROW_LENGTH)
        loss = model(input_ids=batch, labels=batch).loss
        for group in optimizer.param_groups:
            group["lr"] = PEAK_RATE * min(step / 50, 1 - step / NUM_STEPS)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        if step % 100 == 0 or step == NUM_STEPS - 1:
            print(f"  step {step}: loss {loss.item():.3f}")  # noqa: T201


@torch.no_grad()
def continue_greedily(model: GemmaForCausalLM, prompt: torch.Tensor) -> tuple[list[int], float]:
    """Draw greedily without a cache; also give the smallest lead of a best token over the next."""
    tokens, lead = prompt[None], float("inf")
    for _ in range(NUM_GREEDY):
        best = model(input_ids=tokens, use_cache=False).logits[0, -1].topk(2)
        lead = min(lead, (best.values[0] - best.values[1]).item())
        tokens = torch.cat([tokens, best.indices[None, :1]], dim=1)
    return tokens[0, len(prompt) :].tolist(), lead


@torch.no_grad()
def record(folder: pathlib.Path, tokens: np.ndarray, rng: np.random.Generator) -> dict:
    """Load the model as a user would, run it on held-out code, collect what the tests compare."""
    model, half = (
        GemmaForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()
        for dtype in (torch.float32, torch.bfloat16)
    )
    batch = rows(tokens, starts=rng.integers(0, len(tokens) - 64, 2), length=24)
    prompts, lengths, greedy = [], [], []
    while len(prompts) < NUM_PROMPTS:
        length = 5 + len(prompts)
        (prompt,) = rows(tokens, starts=rng.integers(0, len(tokens) - 64, 1), length=length)
        continuation, lead = continue_greedily(model, prompt)
        if lead < CLOSE_CALL or len(set(continuation)) < MIN_DISTINCT:
            continue
        prompts.append(np.pad(prompt.numpy(), (0, 4 + NUM_PROMPTS - length)))
        lengths.append(length)
        greedy.append(continuation)
    logits = model(input_ids=batch).logits
    logprobs = logits.double().log_softmax(-1)
    logprobs_bf16 = half(input_ids=batch).logits.double().log_softmax(-1)
    kl_bf16 = (logprobs.exp() * (logprobs - logprobs_bf16)).sum(-1)
    print(f"  {len(np.unique(greedy))} distinct greedy tokens, KL {kl_bf16.mean():.2e}")  # noqa: T201
    return {
        "tokens": batch.numpy().astype(np.int32),
        "logits": logits.numpy(),
        "kl_bf16": kl_bf16.float().numpy(),
        "prompts": np.array(prompts, np.int32),
        "prompt_lengths": np.array(lengths, np.int32),
        "greedy": np.array(greedy, np.int32),
        "versions": np.array(f"torch {torch.__version__}, transformers {transformers.__version__}"),
    }


def make(name: str, *, tokens: np.ndarray) -> None:
    """Make one golden folder."""
    print(name)  # noqa: T201
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    config = GemmaConfig(
        vocab_size=1024,
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        head_dim=HEAD_DIM,
        num_hidden_layers=2,
        max_position_embeddings=256,
        hidden_activation="gelu_pytorch_tanh",
        attn_implementation="eager",
        **SHAPES[name],
    )
    model = GemmaForCausalLM(config)
    for parameter_name, parameter in model.named_parameters():
        if "norm" in parameter_name:
            torch.nn.init.normal_(parameter, std=0.3)
    border = len(tokens) * 9 // 10
    train(model, tokens[:border], rng)
    folder = HERE / name
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    np.savez_compressed(folder / "golden.npz", **record(folder, tokens[border:], rng))


if __name__ == "__main__":
    torch.set_num_threads(1)
    code = read_code()
    for shape in SHAPES:
        make(shape, tokens=code)
