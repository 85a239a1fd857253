"""What no command takes from its command line, which every user of the host can read while it runs."""

import re
from collections.abc import Iterable

from fsmon_schemas.errors import ConfigError

_OPTIONS = ("--kafka", "--registry", "--dsn")
# librdkafka's settings that are secrets (its CONFIGURATION.md, marked "sensitive") and libpq's.
_SECRET = re.compile(
    r"(^|\s)(sasl\.password|ssl\.key\.password|ssl\.key\.pem|ssl\.keystore\.password"
    r"|sasl\.oauthbearer\.client\.secret|password|sslpassword)\s*=\s*\S"
    r"|://[^/@\s:]*:[^/@\s]+@"
)


def refuse_secrets(arguments: Iterable[str]) -> None:
    """ConfigError naming the option that holds a password; ``arguments`` as in sys.argv."""
    option = ""
    for word in arguments:
        name, equals, value = word.partition("=")
        if name in _OPTIONS and not equals:
            option = name
            continue
        if name in _OPTIONS:
            option = name
        else:
            value = word
        if option and _SECRET.search(value):
            variable = f"FSMON_{option.removeprefix('--').upper()}"
            raise ConfigError(
                f"{option} holds a password, and a command line can be read by every user of this host: "
                f"put it into {variable} or the file given with --config"
            )
        option = ""
