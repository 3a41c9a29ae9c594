# SPDX-License-Identifier: Apache-2.0
"""Tokens out: sampling, stopping and the engine that completes prompts."""
