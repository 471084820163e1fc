# SPDX-License-Identifier: Apache-2.0
"""From detections to events: tracking, rules, second stages, re-identification, privacy. Knows no server and no file."""
