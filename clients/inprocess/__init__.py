# SPDX-License-Identifier: Apache-2.0
"""A Triton server inside this process, asked without a socket: `Client("inproc:/path/to/model_repository")`."""
