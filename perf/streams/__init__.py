# SPDX-License-Identifier: Apache-2.0
"""What streams cost: decoding, sending and tracking against peers, cameras a machine carries, latency and memory."""
