# SPDX-License-Identifier: Apache-2.0
"""The exception tree. A message says what was expected, what came, where, and how to mend it.

CodegemmaError
|- ConfigError(ValueError)      a setting or argument is wrong
|- InputError(ValueError)       text or a file given by the user cannot be used
|  `- ContextLengthError        a prompt is longer than the model's context
|- DataError                    training data or a shard is damaged or missing
|- CheckpointError              a model folder cannot be read or fails its checks
|- TrainingError                a run cannot go on; its last good step is saved
|- PrerequisiteError            a package, tool or file the machine lacks, with its install line
|- RemoteError                  a hub or a remote completer did not answer as it should
`- SandboxError                 the sandbox is broken or refused; never a verdict on a program
"""


class CodegemmaError(Exception):
    """Root of all errors a caller can mend; commands print it as one line and exit with 2."""


class ConfigError(CodegemmaError, ValueError):
    """A setting or argument is outside what is accepted."""


class InputError(CodegemmaError, ValueError):
    """Text or a file given by the user cannot be used."""


class ContextLengthError(InputError):
    """A prompt and its requested completion do not fit in the model's context."""


class DataError(CodegemmaError):
    """Training data, a shard or a manifest is damaged, missing or of another version."""


class CheckpointError(CodegemmaError):
    """A model folder cannot be read, is refused, or fails its checks."""


class TrainingError(CodegemmaError):
    """Training cannot go on, such as at a loss that is not finite; its last good step is kept."""


class PrerequisiteError(CodegemmaError):
    """A package, tool or file is missing on this machine; the message holds the install line."""


class RemoteError(CodegemmaError):
    """A hub or a remote completer could not be reached or did not answer as it should."""


class SandboxError(CodegemmaError):
    """The sandbox cannot isolate, or broke; says nothing about the program it was to run."""
