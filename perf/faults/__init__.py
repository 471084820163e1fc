# SPDX-License-Identifier: Apache-2.0
"""Faults that are provoked with real servers and sockets, each with its figure."""
