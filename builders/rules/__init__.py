# SPDX-License-Identifier: Apache-2.0
"""Triton's rules of model configuration, as data with their sources, and a check of a repository against them."""

from __future__ import annotations

from sightline.builders.rules.check import Finding, check_repository, refuse_broken
from sightline.builders.rules.data import Rule, all_rules, rules_for

__all__ = ["Finding", "Rule", "all_rules", "check_repository", "refuse_broken", "rules_for"]
