# SPDX-License-Identifier: Apache-2.0
"""The cameras file: one YAML for cameras, rules, sinks and page; read, validated, and changed without losing comments."""
