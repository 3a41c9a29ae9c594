# SPDX-License-Identifier: Apache-2.0
"""Untrusted programs, one at a time, in a box that fails closed."""
