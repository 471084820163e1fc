# SPDX-License-Identifier: Apache-2.0
"""What an RTSP 1.0 server is made of: messages, session descriptions, RTP, channels, digest. Knows no camera and no model."""
