# SPDX-License-Identifier: Apache-2.0
"""A cameras file, running: engine, analytics, events, page, and changes while it runs."""
