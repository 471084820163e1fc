# SPDX-License-Identifier: Apache-2.0
"""Proves that a served model answers like its source.

from sightline.builders.proof import ProofSubject, prove
"""

from __future__ import annotations

from sightline.builders.proof.prove import prove
from sightline.builders.proof.subject import Measure, Proof, ProofSubject, StageDrift

__all__ = ["Measure", "Proof", "ProofSubject", "StageDrift", "prove"]
