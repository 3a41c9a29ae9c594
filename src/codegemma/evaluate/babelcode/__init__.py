# SPDX-License-Identifier: Apache-2.0
"""BabelCode: Python problems with asserts, told and tested in eight languages."""
