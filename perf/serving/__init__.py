# SPDX-License-Identifier: Apache-2.0
"""The whole ensemble hosted in the client's process, against the bare network."""
