# SPDX-License-Identifier: Apache-2.0
"""Settings of every test run: arrays of unlike rank or dtype are never combined by accident.

Property tests have no deadline: on a loaded machine one example may take any time. Without one,
Hypothesis gives the first examples 30 seconds before it calls drawing them too slow, not one.
"""

import os

from hypothesis import settings

# In the environment, not through jax.config: tests that need no jax then do not import it.
os.environ.setdefault("JAX_NUMPY_DTYPE_PROMOTION", "strict")
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
