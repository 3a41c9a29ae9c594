# SPDX-License-Identifier: Apache-2.0
"""Products with quantised weights and attention over a cache: native, behind XLA's custom calls."""
