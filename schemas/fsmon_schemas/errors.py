"""One tree of errors: whether trying again can help is part of the type."""

from typing import ClassVar


class FsmonError(Exception):
    """Base of every error raised on purpose; its text says what is wrong and what to do."""

    exit_code: ClassVar[int] = 1


class RetryableError(FsmonError):
    """The same call may succeed later: a broker, a registry or a database is away."""


class FatalError(FsmonError):
    """Trying again cannot help: a person has to change something."""


class ConfigError(FatalError):
    """A flag, an environment variable or a configuration file is wrong (exit code 2)."""

    exit_code = 2


class FramingError(FsmonError):
    """A message does not start with a framing that fsmon knows."""
