# SPDX-License-Identifier: Apache-2.0
"""Weights learn: recipes, input, loss, optimiser, step and loop."""
