# SPDX-License-Identifier: Apache-2.0
"""The CodeGemma system: data, training, evaluation and serving of code completion models."""
