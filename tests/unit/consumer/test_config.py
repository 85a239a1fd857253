"""Where settings come from, and what is said of a wrong one."""

from datetime import timedelta
from pathlib import Path

import pytest
from fsmon_consumer.config import load_config
from fsmon_schemas import ConfigError


def test_flag_over_environment_over_file_over_default(tmp_path: Path) -> None:
    file = tmp_path / "fsmon.toml"
    file.write_text('topic = "file"\ngroup = "file"\nreports_topic = "file"\n[kafka]\n"a.b" = true\nx = 1\n')
    environ = {
        "FSMON_TOPIC": "env",
        "FSMON_GROUP": "env",
        "FSMON_KAFKA": "x=2 'y=with space'",
        "FSMON_DSN": "",
    }
    config = load_config({"topic": "flag", "group": None, "kafka": ["z=a=b"]}, file=file, environ=environ)
    assert (config.topic, config.group, config.reports_topic) == ("flag", "env", "file")
    assert dict(config.kafka) == {"a.b": "true", "x": "2", "y": "with space", "z": "a=b"}
    assert config.bootstrap_servers == "127.0.0.1:9092"
    assert config.dsn == ""


def test_the_file_may_be_named_by_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "fsmon.toml"
    file.write_text('retention = "7d"\nlinger = 2\n')
    config = load_config({}, environ={"FSMON_CONFIG": str(file)})
    assert (config.retention, config.linger) == (timedelta(days=7), timedelta(seconds=2))


def test_secrets_stand_in_no_repr() -> None:
    config = load_config(
        {"dsn": "password=hush", "registry": "http://u:hush@h", "kafka": ["sasl.password=hush"]}, environ={}
    )
    assert "hush" not in repr(config)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch_row = 5", "unknown setting 'batch_row'; did you mean 'batch_rows'?"),
        ("zzzzzz = 5", "known settings: batch_rows"),
        ("batch_rows = 0", "batch_rows: 0 is below 1"),
        ("batch_rows = true", "no whole number"),
        ('linger = "5x"', "write 500ms, 30s"),
        ('linger = "0s"', "not above 0"),
        ('group_protocol = "new"', "none of auto, consumer, classic"),
        ('topic = ""', "not empty"),
        ("kafka = 5", "expected KEY=VALUE"),
        ("[", "is not TOML"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "fsmon.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config({}, file=file, environ={})
    assert message in str(caught.value)
    assert str(file) in str(caught.value)
    assert caught.value.exit_code == 2


def test_other_sources_are_named_too() -> None:
    with pytest.raises(ConfigError, match="environment: bad value for batch_rows"):
        load_config({}, environ={"FSMON_BATCH_ROWS": "many"})
    with pytest.raises(ConfigError, match="command line: bad value for kafka: expected KEY=VALUE") as caught:
        load_config({"kafka": ["hush"]}, environ={})
    assert "hush" not in str(caught.value)
    with pytest.raises(ConfigError, match="cannot read the configuration file /nowhere"):
        load_config({}, file=Path("/nowhere"), environ={})
