# SPDX-License-Identifier: Apache-2.0
"""What it costs to send one tensor to the server and have it back, by each way, in copies of that tensor."""
