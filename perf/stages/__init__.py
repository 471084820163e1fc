# SPDX-License-Identifier: Apache-2.0
"""What the native backend's stages cost inside a real server.

`python -m sightline.perf.stages` prints and writes rows: post-processing in the native backend against the same C
called from a Python model, and the latency that one more native stage adds to an ensemble.
"""
