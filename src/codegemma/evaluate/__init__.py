# SPDX-License-Identifier: Apache-2.0
"""Measures completers on benchmarks: generates, scores in the sandbox, counts with intervals."""
