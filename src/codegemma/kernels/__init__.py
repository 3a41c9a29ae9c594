# SPDX-License-Identifier: Apache-2.0
"""Products with quantised weights: native kernels behind XLA's custom calls, and XLA alone."""
