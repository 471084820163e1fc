# SPDX-License-Identifier: Apache-2.0
"""Who turns pictures into the network's input: DALI's graphs as files of a repository, and the measured choice on `local`."""
