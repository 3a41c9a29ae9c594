# SPDX-License-Identifier: Apache-2.0
"""The JSON files of a Hugging Face model folder: config.json and the small ones beside it.

Reads what transformers 4 and 5 write, and writes what both read: a setting that changed its name
stands there under both. Only Gemma 1 is accepted; whatever the activation is called, Gemma's is the
tanh approximation of GELU.

Source: configuration classes of transformers; the published configurations of the released models;
vLLM's class for Gemma, which takes `hidden_activation`, `rope_theta` and `tie_word_embeddings`.
"""

from typing import Any, Final

from codegemma.errors import CheckpointError, ConfigError
from codegemma.model.config import ModelConfig
from codegemma.text import tokens as t

CONFIG_NAME: Final = "config.json"
GENERATION_NAME: Final = "generation_config.json"
TOKENIZER_CONFIG_NAME: Final = "tokenizer_config.json"

QUANTISED: Final = {"quant_method": "codegemma"}
"""What says of our quantised weights that others cannot read them."""

_SIZES: Final = {
    "vocab_size": "vocab_size",
    "width": "hidden_size",
    "ffw_dim": "intermediate_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "num_kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
}
_GELUS: Final = (None, "gelu", "gelu_fast", "gelu_new", "gelu_pytorch_tanh")

# The published template of Gemma's instruction models.
_CHAT_TEMPLATE: Final = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}"
    "{% endif %}"
    "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}"
    "{% else %}{% set role = message['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)


def refuse_code(raw: dict[str, Any], *, place: str) -> None:
    """Refuse a JSON file that asks its reader to run Python code from the folder.

    Raises:
        CheckpointError: It holds `auto_map` or `trust_remote_code`.
    """
    for key in ("auto_map", "trust_remote_code"):
        if raw.get(key):
            raise CheckpointError(
                f"{place} asks to run code from its folder ({key}), which is refused; a Gemma "
                "model needs none"
            )


def parse_config(raw: dict[str, Any], *, name: str, place: str) -> ModelConfig:
    """Read the configuration of a Gemma 1 model.

    Args:
        raw: Content of config.json.
        name: Name of the configuration returned.
        place: Path of the file, for messages.

    Raises:
        CheckpointError: It is another architecture, or uses what Gemma 1 does not have; all faults
            are listed.
    """
    model_type = raw.get("model_type")
    if model_type != "gemma":
        raise CheckpointError(
            f"{place}: expected the model_type 'gemma' (Gemma 1 and CodeGemma), found "
            f"{model_type!r}"
        )
    rope = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    faults = [
        f"{key} must be a whole number, not {raw.get(key)!r}"
        for key in (*_SIZES.values(), "max_position_embeddings")
        if type(raw.get(key, 8192 if key == "max_position_embeddings" else None)) is not int
    ]
    faults += [
        f"{key} is {raw.get(key)!r}, which is no GELU"
        for key in ("hidden_act", "hidden_activation")
        if raw.get(key) not in _GELUS
    ]
    faults += [
        f"{key} is set, which Gemma 1 does not have"
        for key in ("attention_bias", "quantization_config")
        if raw.get(key) and raw[key] != QUANTISED
    ]
    if not isinstance(rope, dict) or _rope_type(rope) != "default":
        faults.append(f"the rotary positions are scaled ({rope!r}), which Gemma 1 does not do")
        rope = {}
    theta = rope.get("rope_theta", raw.get("rope_theta", 10_000.0))
    epsilon = raw.get("rms_norm_eps", 1e-6)
    faults += [
        f"{key} must be a number, not {value!r}"
        for key, value in (("rope_theta", theta), ("rms_norm_eps", epsilon))
        if type(value) not in (int, float)
    ]
    if faults:
        raise CheckpointError(f"{place}: " + "; ".join(faults))
    try:
        return ModelConfig(
            name=name,
            **{ours: raw[theirs] for ours, theirs in _SIZES.items()},
            context_length=raw.get("max_position_embeddings", 8192),
            rope_theta=float(theta),
            norm_eps=float(epsilon),
        )
    except (ConfigError, OverflowError) as error:  # an integer may be too large for a float
        raise CheckpointError(f"{place}: {error}") from error


def render_config(config: ModelConfig, *, dtype: str, is_quantised: bool = False) -> dict[str, Any]:
    """Give the config.json of a model; old and new spellings of a setting stand side by side."""
    return {
        "architectures": ["GemmaForCausalLM"],
        "model_type": "gemma",
        **{theirs: getattr(config, ours) for ours, theirs in _SIZES.items()},
        "max_position_embeddings": config.context_length,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_activation": "gelu_pytorch_tanh",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "tie_word_embeddings": True,
        "use_cache": True,
        "pad_token_id": t.PAD_ID,
        "eos_token_id": t.EOS_ID,
        "bos_token_id": t.BOS_ID,
        "torch_dtype": dtype,
        "dtype": dtype,
        **({"quantization_config": QUANTISED} if is_quantised else {}),
    }


def render_generation_config(*, is_instruction: bool) -> dict[str, Any]:
    """Give the generation_config.json: the ids that begin, end and pad.

    Differs: the released instruction models leave `<end_of_turn>` out of the ending ids.
    """
    ending = [t.EOS_ID, t.END_OF_TURN_ID] if is_instruction else t.EOS_ID
    return {
        "_from_model_config": True,
        "bos_token_id": t.BOS_ID,
        "eos_token_id": ending,
        "pad_token_id": t.PAD_ID,
    }


def render_tokenizer_config(*, is_instruction: bool) -> dict[str, Any]:
    """Give the tokenizer_config.json that transformers needs beside a vocabulary.

    Sentinels of infilling are not marked special there, as in the released models: transformers
    keeps them in decoded text.
    """
    infill = range(t.FIM_PREFIX_ID, t.FILE_SEPARATOR_ID + 1)
    turns = (t.START_OF_TURN_ID, t.END_OF_TURN_ID)
    added = {
        str(token): {
            "content": t.RESERVED_PIECES[token],
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": token not in infill,
        }
        for token in (t.PAD_ID, t.EOS_ID, t.BOS_ID, t.UNK_ID, *infill, *turns)
    }
    config: dict[str, Any] = {
        "tokenizer_class": "GemmaTokenizer",
        "add_bos_token": True,
        "add_eos_token": False,
        "added_tokens_decoder": added,
        "additional_special_tokens": [t.START_OF_TURN, t.END_OF_TURN],
        "pad_token": t.PAD,
        "eos_token": t.EOS,
        "bos_token": t.BOS,
        "unk_token": t.UNK,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1_000_000_000_000_000_019_884_624_838_656,
        "sp_model_kwargs": {},
        "spaces_between_special_tokens": False,
        "use_default_system_prompt": False,
    }
    if is_instruction:
        config["chat_template"] = _CHAT_TEMPLATE
    return config


def _rope_type(rope: dict[str, Any]) -> object:
    return rope.get("rope_type", rope.get("type", "default"))
