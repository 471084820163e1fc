# SPDX-License-Identifier: Apache-2.0
"""Events that are not lost: what they are, the spool on the disk, and where they are delivered."""
