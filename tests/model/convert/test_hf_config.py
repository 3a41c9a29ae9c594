# SPDX-License-Identifier: Apache-2.0
import json
import math

import pytest

from codegemma.errors import CheckpointError
from codegemma.model.config import ModelConfig, codegemma_2b
from codegemma.model.convert import hf_config

# The published configuration of codegemma-2b, and how transformers 5 writes one.
PUBLISHED = {
    "architectures": ["GemmaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 2,
    "eos_token_id": 1,
    "head_dim": 256,
    "hidden_act": "gelu",
    "hidden_activation": None,
    "hidden_size": 2048,
    "initializer_range": 0.02,
    "intermediate_size": 16384,
    "max_position_embeddings": 8192,
    "model_type": "gemma",
    "num_attention_heads": 8,
    "num_hidden_layers": 18,
    "num_key_value_heads": 1,
    "pad_token_id": 0,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.38.2",
    "use_cache": True,
    "vocab_size": 256000,
}
NEW = {key: value for key, value in PUBLISHED.items() if not key.startswith("rope_")} | {
    "hidden_act": "gelu_pytorch_tanh",
    "rope_parameters": {"rope_theta": 5000.0, "rope_type": "default"},
    "dtype": "bfloat16",
}


def parse(raw):
    return hf_config.parse_config(raw, name="codegemma-2b", place="config.json")


def test_the_published_configuration_is_codegemma_2b():
    assert parse(PUBLISHED) == codegemma_2b()


def test_the_spelling_of_transformers_5_is_read():
    assert parse(NEW).rope_theta == 5000.0


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_act": "gelu", "hidden_activation": "gelu_pytorch_tanh"},
        {"hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh"},
        {"hidden_act": None, "hidden_activation": None},
        {"rope_parameters": {"rope_type": "default"}},
        {"rope_scaling": {"type": "default"}},
    ],
)
def test_every_published_spelling_means_the_same(change):
    assert parse(PUBLISHED | change) == codegemma_2b()


@pytest.mark.parametrize("model_type", ["gemma2", "gemma3_text", "llama", None])
def test_another_architecture_is_refused_by_name(model_type):
    with pytest.raises(
        CheckpointError,
        match=rf"config\.json: expected the model_type 'gemma' .*found {model_type!r}",
    ):
        parse(PUBLISHED | {"model_type": model_type})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_act": "silu"}, "hidden_act is 'silu', which is no GELU"),
        ({"hidden_activation": "relu"}, "hidden_activation is 'relu', which is no GELU"),
        ({"attention_bias": True}, "attention_bias is set, which Gemma 1 does not have"),
        ({"quantization_config": {"bits": 4}}, "quantization_config is set"),
        ({"rope_scaling": {"type": "linear", "factor": 2}}, "rotary positions are scaled"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rotary positions are scaled"),
        ({"rope_parameters": "yarn"}, "rotary positions are scaled"),
        ({"head_dim": None}, "head_dim must be a whole number, not None"),
        ({"hidden_size": 2048.0}, r"hidden_size must be a whole number, not 2048\.0"),
        ({"num_hidden_layers": True}, "num_hidden_layers must be a whole number, not True"),
        ({"num_hidden_layers": 0}, "num_layers must be at least 1, not 0"),
        ({"num_key_value_heads": 3}, "num_heads must be a multiple of num_kv_heads"),
        ({"rms_norm_eps": "tiny"}, "rms_norm_eps must be a number, not 'tiny'"),
        ({"rope_theta": None}, "rope_theta must be a number, not None"),
        (json.loads('{"rms_norm_eps": NaN}'), "norm_eps must be above 0 and finite, not nan"),
        (json.loads('{"rope_theta": Infinity}'), "rope_theta must be above 0 and finite, not inf"),
        ({"rope_parameters": {"rope_theta": -math.inf}}, "rope_theta must .* finite, not -inf"),
        ({"rope_theta": 10**400}, "int too large to convert to float"),
        ({"vocab_size": "x", "hidden_act": "relu"}, "vocab_size must .*; hidden_act is 'relu'"),
    ],
)
def test_what_gemma_does_not_have_is_refused(change, message):
    with pytest.raises(CheckpointError, match=rf"config\.json: .*{message}"):
        parse(PUBLISHED | change)


@pytest.mark.parametrize("key", ["auto_map", "trust_remote_code"])
def test_code_from_the_folder_is_refused(key):
    hf_config.refuse_code(PUBLISHED, place="config.json")
    with pytest.raises(CheckpointError, match=rf"config\.json asks to run code .*\({key}\)"):
        hf_config.refuse_code(PUBLISHED | {key: {"AutoModel": "x.Y"}}, place="config.json")


def test_a_written_configuration_says_what_the_published_one_does():
    found = hf_config.render_config(codegemma_2b(), dtype="bfloat16")
    ignored = {"hidden_act", "hidden_activation", "rope_scaling", "transformers_version"}
    for key in PUBLISHED.keys() - ignored:
        assert found[key] == PUBLISHED[key], key
    assert found["hidden_act"] == found["hidden_activation"] == "gelu_pytorch_tanh"
    assert found["rope_parameters"] == {"rope_type": "default", "rope_theta": 10000.0}
    assert found["dtype"] == "bfloat16"
    assert found["tie_word_embeddings"] is True


def test_any_configuration_comes_back_from_its_file():
    config = ModelConfig(
        name="x",
        vocab_size=10,
        width=4,
        ffw_dim=6,
        num_layers=1,
        num_heads=2,
        num_kv_heads=2,
        head_dim=8,
        context_length=77,
        rope_theta=500.0,
        norm_eps=1e-5,
    )
    raw = json.loads(json.dumps(hf_config.render_config(config, dtype="float32")))
    assert hf_config.parse_config(raw, name="x", place="config.json") == config


def test_only_a_conversation_ends_with_the_end_of_a_turn():
    plain = hf_config.render_generation_config(is_instruction=False)
    assert (plain["bos_token_id"], plain["eos_token_id"], plain["pad_token_id"]) == (2, 1, 0)
    assert hf_config.render_generation_config(is_instruction=True)["eos_token_id"] == [1, 107]


def test_the_tokenizer_configuration_names_the_control_tokens():
    found = hf_config.render_tokenizer_config(is_instruction=True)
    spellings = {int(i): token["content"] for i, token in found["added_tokens_decoder"].items()}
    assert spellings == {
        0: "<pad>",
        1: "<eos>",
        2: "<bos>",
        3: "<unk>",
        67: "<|fim_prefix|>",
        68: "<|fim_middle|>",
        69: "<|fim_suffix|>",
        70: "<|file_separator|>",
        106: "<start_of_turn>",
        107: "<end_of_turn>",
    }
    special = {int(i) for i, token in found["added_tokens_decoder"].items() if token["special"]}
    assert special == {0, 1, 2, 3, 106, 107}
    assert found["add_bos_token"] is True
    assert "<start_of_turn>model\n" in found["chat_template"]
    assert "chat_template" not in hf_config.render_tokenizer_config(is_instruction=False)
