# SPDX-License-Identifier: Apache-2.0
"""Foreign checkpoint layouts to ours and back; the only place that knows them."""
