"""Passwords on a command line."""

import pytest
from fsmon_schemas.command_line import refuse_secrets
from fsmon_schemas.errors import ConfigError


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--kafka", "sasl.password=hush"],
        ["run", "--kafka=ssl.key.password=hush"],
        ["run", "--kafka", "sasl.username=u", "--kafka", "sasl.oauthbearer.client.secret=hush"],
        ["audit", "--dsn", "host=db password=hush"],
        ["audit", "--dsn", "password = 'hush'"],
        ["audit", "--dsn=postgresql://user:hush@db/fsmon"],
        ["tail", "--registry", "https://user:hush@registry:8081"],
    ],
)
def test_a_password_is_refused_and_not_repeated(words: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"FSMON_(KAFKA|DSN|REGISTRY).*--config") as told:
        refuse_secrets(words)
    assert "hush" not in str(told.value)


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--kafka", "sasl.username=u", "--kafka=ssl.key.location=/etc/key.pem"],
        ["audit", "--dsn", "host=db user=fsmon passfile=/etc/fsmon/pgpass"],
        ["audit", "--dsn=postgresql://user@db:5432/fsmon"],
        ["tail", "--registry", "https://registry:8081/a:b@c"],
        ["tail", "--path", "password=x"],
        ["run", "--kafka"],
        [],
    ],
)
def test_what_is_none_is_taken(words: list[str]) -> None:
    refuse_secrets(words)
