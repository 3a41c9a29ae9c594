# SPDX-License-Identifier: Apache-2.0
"""From run folders to a model card, in Markdown and as one page that stands alone."""
