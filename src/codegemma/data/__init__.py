# SPDX-License-Identifier: Apache-2.0
"""Repositories in, token shards out; free of jax."""
