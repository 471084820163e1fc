# SPDX-License-Identifier: Apache-2.0
"""Images without cameras: from a folder, a Redis channel or stream to a folder or channel, one result for each image."""
