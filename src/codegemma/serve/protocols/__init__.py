# SPDX-License-Identifier: Apache-2.0
"""One wire protocol per module, each a translation to prompts and back."""
