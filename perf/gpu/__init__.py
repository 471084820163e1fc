# SPDX-License-Identifier: Apache-2.0
"""What an NVIDIA machine can do with our models, measured by one script: python -m sightline.perf.gpu --out FILE.json

Each step runs by itself; what cannot run is named with its reason, and no figure is written that was not measured.
"""
