# SPDX-License-Identifier: Apache-2.0
"""The alphabet: tokens, tokenizer, fill-in-the-middle, chat template, syntax and trimming."""
