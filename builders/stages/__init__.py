# SPDX-License-Identifier: Apache-2.0
"""The Python stages that run inside tritonserver. Kept light: numpy, Pillow, OpenVINO and the C core only."""
