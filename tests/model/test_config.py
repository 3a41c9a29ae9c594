# SPDX-License-Identifier: Apache-2.0
import dataclasses
import math
import subprocess
import sys

import pytest

from codegemma.errors import ConfigError
from codegemma.model import config as configs


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("codegemma-2b", (256_000, 2048, 16_384, 18, 8, 1, 256, 8192)),
        ("codegemma-1.1-2b", (256_000, 2048, 16_384, 18, 8, 1, 256, 8192)),
        ("gemma-2b", (256_000, 2048, 16_384, 18, 8, 1, 256, 8192)),
        ("codegemma-7b", (256_000, 3072, 24_576, 28, 16, 16, 256, 8192)),
        ("codegemma-7b-it", (256_000, 3072, 24_576, 28, 16, 16, 256, 8192)),
        ("codegemma-1.1-7b-it", (256_000, 3072, 24_576, 28, 16, 16, 256, 8192)),
        ("gemma-7b", (256_000, 3072, 24_576, 28, 16, 16, 256, 8192)),
    ],
)
def test_a_released_model_has_the_published_sizes(name, sizes):
    config = configs.by_name(name)
    assert config.name == name
    assert sizes == (
        config.vocab_size,
        config.width,
        config.ffw_dim,
        config.num_layers,
        config.num_heads,
        config.num_kv_heads,
        config.head_dim,
        config.context_length,
    )
    assert (config.rope_theta, config.norm_eps) == (10_000.0, 1e-6)


def test_each_configuration_is_found_by_its_own_name():
    for name in ("nano", "tiny"):
        assert configs.by_name(name).name == name


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"'codegemma-3b'; known: codegemma-2b, .*, nano, tiny"):
        configs.by_name("codegemma-3b")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_layers": 0}, "num_layers must be at least 1, not 0"),
        ({"num_kv_heads": 3}, "multiple of num_kv_heads, not 4 and 3"),
        ({"head_dim": 15}, "head_dim must be even, not 15"),
        ({"rope_theta": 0.0}, "rope_theta must be above 0 and finite, not 0.0"),
        ({"rope_theta": math.inf}, "rope_theta must be above 0 and finite, not inf"),
        ({"rope_theta": math.nan}, "rope_theta must be above 0 and finite, not nan"),
        ({"norm_eps": -1e-6}, "norm_eps must be above 0 and finite, not -1e-06"),
        ({"norm_eps": math.inf}, "norm_eps must be above 0 and finite, not inf"),
        ({"norm_eps": math.nan}, "norm_eps must be above 0 and finite, not nan"),
        ({"width": -1, "head_dim": 7}, "width must be at least 1, not -1; head_dim must be even"),
    ],
)
def test_a_size_out_of_range_is_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(configs.tiny(), **change)


def test_importing_the_configurations_imports_no_jax():
    code = "import sys, codegemma.model.config; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
