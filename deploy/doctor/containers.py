# SPDX-License-Identifier: Apache-2.0
"""Which of NVIDIA's releases belong together, read in NVIDIA's own documents and repositories."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pairing:
    """One release and what it carries."""

    product: str
    release: str
    runs_on: str
    cuda: str
    tensorrt: str
    triton: str


PAIRINGS: tuple[Pairing, ...] = (
    Pairing("Triton container", "26.03", "servers", "13.2", "10.16", "2.67.0"),
    Pairing("Triton container", "26.04", "servers", "13.2", "10.16", "2.68.0"),
    Pairing("DeepStream", "9.1", "x86-64, Jetson Orin and Thor", "13.2", "10.16", "26.03 (Jetson: 26.04)"),
    Pairing(
        "DeepStream",
        "9.0",
        "x86-64, Jetson Thor",
        "13.1 (Jetson: 13.0)",
        "10.14 (Jetson: 10.13)",
        "26.01 (Jetson: 25.08)",
    ),
    Pairing("JetPack", "7.2 (L4T 39.2)", "Orin and Thor", "13.2", "10.16", "-"),
    Pairing("JetPack", "7.1 (L4T 38.4)", "Thor", "13.0", "10.13", "-"),
    Pairing("JetPack", "7.0 (L4T 38.2)", "Thor", "13.0", "10.13", "-"),
    Pairing("JetPack", "6.1, 6.2 (L4T 36.4)", "Orin", "12.6", "10.3", "-"),
    Pairing("JetPack", "5.1 (L4T 35)", "Xavier and Orin", "11.4", "8.5", "-"),
)
