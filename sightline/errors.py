# SPDX-License-Identifier: Apache-2.0
"""Every error that Sightline raises on purpose.

SightlineError
├── CardError              the model card is wrong
├── ConfigError            a cameras file, or a change of it, is wrong
├── BuildError             a model could not be turned into a repository entry
│   ├── ModelFileError     the source file is missing, damaged, or not what it claims to be
│   └── HeadMismatchError  the network's outputs do not fit the card's head
├── ServerError            the server's life
│   ├── PortInUseError     another program listens there
│   ├── AlreadyServedError this repository is being served by another process
│   └── ServerStartError   tritonserver ended, or its canary failed, before it was ready
├── InferenceError         a request was not answered
│   ├── BadInputError      the image or frame cannot be used
│   ├── ModelNotFoundError the server does not have this model
│   ├── ServerUnavailable  nobody answers at the address, or the server is overloaded
│   ├── DeadlineExceeded   no answer within the timeout
│   ├── Cancelled          the caller cancelled the request
│   └── ProtocolError      the server's answer does not follow the wire contract
├── StreamError            a camera cannot be read
│   └── StreamAuthError    the camera refuses the credentials
├── OutputError            a result cannot be written (disk full, no permission)
└── MissingDependencyError a package or program is not installed
"""

from __future__ import annotations


class SightlineError(Exception):
    """Base of all errors of this package; its text says what to do next."""


class CardError(SightlineError):
    """The model card is wrong."""


class ConfigError(SightlineError):
    """A cameras file, or a change of it, is wrong."""


class BuildError(SightlineError):
    """A model could not be turned into a repository entry."""


class ModelFileError(BuildError):
    """The source file is missing, damaged, or not what it claims to be."""


class HeadMismatchError(BuildError):
    """The network's outputs do not fit the card's head."""


class ServerError(SightlineError):
    """The server could not be started, kept or stopped."""


class PortInUseError(ServerError):
    """Another program listens on the wanted port."""


class AlreadyServedError(ServerError):
    """The repository is being served by another process."""


class ServerStartError(ServerError):
    """tritonserver ended, or its canary failed, before it was ready."""


class InferenceError(SightlineError):
    """A request was not answered."""


class BadInputError(InferenceError):
    """The image or frame cannot be used."""


class ModelNotFoundError(InferenceError):
    """The server does not have this model."""


class ServerUnavailable(InferenceError):  # noqa: N818 - the field's own term
    """Nobody answers at the address, or the server sheds load."""


class DeadlineExceeded(InferenceError):  # noqa: N818 - gRPC's own term
    """No answer arrived within the timeout."""


class Cancelled(InferenceError):  # noqa: N818 - gRPC's own term
    """The caller cancelled the request."""


class ProtocolError(InferenceError):
    """The server's answer does not follow the wire contract."""


class StreamError(SightlineError):
    """A camera cannot be read."""


class StreamAuthError(StreamError):
    """The camera refuses the credentials."""


class OutputError(SightlineError):
    """A result cannot be written."""


class MissingDependencyError(SightlineError):
    """A package or program is not installed; the text names it and how to get it."""
