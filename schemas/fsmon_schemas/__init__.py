"""The message schemas, their framing on the wire, and the errors both sides share.

The ``.avsc`` files beside this module are the only description of a message: the C encoder,
the consumer's columns and the reference page are derived from them.
"""

from fsmon_schemas.errors import ConfigError, FatalError, FramingError, FsmonError, RetryableError
from fsmon_schemas.schema import CAPTURE_REPORT, FILE_EVENT, Schema, load_schema

__all__ = [
    "CAPTURE_REPORT",
    "FILE_EVENT",
    "ConfigError",
    "FatalError",
    "FramingError",
    "FsmonError",
    "RetryableError",
    "Schema",
    "load_schema",
]
