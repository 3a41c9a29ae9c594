# SPDX-License-Identifier: Apache-2.0
"""Which other files of a repository a model is shown, and in which order."""
