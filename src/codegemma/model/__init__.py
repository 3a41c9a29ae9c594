# SPDX-License-Identifier: Apache-2.0
"""Weights and mathematics of the Gemma architecture."""
