# SPDX-License-Identifier: Apache-2.0
"""Completions over HTTP and the page that uses them."""
