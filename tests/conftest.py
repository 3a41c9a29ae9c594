# SPDX-License-Identifier: Apache-2.0
"""Settings of every test run: arrays of unlike rank or dtype are never combined by accident."""

import os

# In the environment, not through jax.config: tests that need no jax then do not import it.
os.environ.setdefault("JAX_NUMPY_DTYPE_PROMOTION", "strict")
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
