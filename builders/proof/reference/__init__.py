# SPDX-License-Identifier: Apache-2.0
"""What the served stages do once more, in plain numpy, slow and easy to read: what a proof compares them with."""
