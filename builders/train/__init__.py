# SPDX-License-Identifier: Apache-2.0
"""The shipped detector's network, training, evaluation and export. Needs the [train] extra."""

from __future__ import annotations
