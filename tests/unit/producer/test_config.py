import contextlib
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from fsmon_producer.config import Config, check_runnable, resolve
from fsmon_producer.kafka import check_settings, client_settings, producer_settings
from fsmon_schemas.errors import ConfigError
from hypothesis import HealthCheck, settings
from hypothesis import example as example_
from hypothesis import given as given_
from hypothesis import strategies as st


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "fsmon.toml"
    file.write_text(text)
    return file


def test_what_is_not_given_is_the_default() -> None:
    given: dict[str, Any] = {"watch": [], "topic": None, "op": None, "ring_size": None}
    assert resolve(given, None) == Config()


def test_given_beats_file_beats_default_and_kafka_settings_are_merged(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """
        watch = ["/srv", "/etc"]
        topic = "from-file"
        reports_topic = "reports"
        ring_size = "16M"
        drain_timeout = 3
        op = ["read"]
        [kafka]
        sasl.username = "u"
        "linger.ms" = 5
        socket.keepalive.enable = false
        """,
    )
    config = resolve({"topic": "from-flag", "kafka": ["linger.ms=7", "ssl.ca.location=/a=b"]}, file)
    assert config.watch == (Path("/srv"), Path("/etc"))
    assert (config.topic, config.reports_topic) == ("from-flag", "reports")
    assert (config.ring_size, config.drain_timeout, config.op) == (16 << 20, 3.0, frozenset({"read"}))
    assert config.kafka == {
        "sasl.username": "u",
        "linger.ms": "7",
        "socket.keepalive.enable": "false",
        "ssl.ca.location": "/a=b",
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("wach = ['/srv']", "'wach': did you mean watch"),
        ("bootstrap-server = 'a:1'", "did you mean bootstrap_servers"),
        ("zzz = 1", "known are watch, exclude"),
        ("watch = [", "fsmon.toml"),
        ("op = ['reed']", "no operation 'reed'; there are create, open, read"),
        ("op = ['unknown']", "no operation 'unknown'"),  # in the schema, and reported by no backend
        ("backend = 'ebpf'", "auto, lsm, tracepoint"),
        ("ring_size = '65M'", "power of two"),
        ("ring_size = 12", "power of two"),
        ("ring_size = '1K'", "power of two"),
        ("log_level = 'loud'", "debug, info"),
        ("report_interval = 0", "above 0"),
        ("drain_timeout = -1", "0 or more"),
        ("report_interval = 'soon'", "report_interval"),
        ("report_interval = nan", "0 or more"),
        ("topic = 5", "text in quotes"),
        ("output = 'events.json'", "ends in .avro"),
        ("host_id = ''", "text in quotes"),
        (r'host_id = "a\u0000b"', "control characters"),
        (r'host_id = "web\n"', "control characters"),
        (f"host_id = '{'x' * 129}'", "1 to 128 bytes"),
        ("ignore_pid = ['x']", "ignore_pid"),
        ("watch = 5", "watch"),
    ],
)
def test_a_wrong_file_is_told_by_name_and_what_it_should_be(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        resolve({}, write(tmp_path, text))
    assert told in str(raised.value)
    assert raised.value.exit_code == 2


def test_a_host_id_has_to_be_utf_8() -> None:
    with pytest.raises(ConfigError, match="control characters"):
        resolve({"host_id": os.fsdecode(b"web-\xff")}, None)


def test_a_missing_file_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        resolve({}, tmp_path / "none.toml")


@pytest.mark.parametrize("given", [{"kafka": ["nonsense"]}, {"kafka": ["=x"]}])
def test_kafka_settings_are_pairs(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="KEY=VALUE"):
        resolve(given, None)


def test_secrets_do_not_show() -> None:
    config = resolve(
        {"kafka": ["sasl.password=hunter2", "ssl.key.password=hunter3"], "registry": "http://u:hunter4@r"},
        None,
    )
    assert "hunter" not in repr(config)


def test_there_must_be_something_to_watch_and_somewhere_to_send_it() -> None:
    with pytest.raises(ConfigError, match="nothing to watch"):
        check_runnable(resolve({"output": "-"}, None))
    with pytest.raises(ConfigError, match="nowhere to send"):
        check_runnable(resolve({"watch": ["/srv"]}, None))
    check_runnable(resolve({"watch": ["/srv"], "output": "-"}, None))


@pytest.mark.parametrize(
    "setting",
    [
        "enable.idempotence=false",
        "acks=1",
        "acks=0",
        "request.required.acks=1",
        "enable.gapless.guarantee=false",
        "message.timeout.ms=300000",
        "delivery.timeout.ms=1",
        "retries=3",
        "delivery.report.only.error=true",
        "transactional.id=x",
        "batch.size=1",
        "bootstrap.servers=a:1",
    ],
)
def test_a_setting_that_would_break_a_guarantee_is_refused_by_name(setting: str) -> None:
    key, _, value = setting.partition("=")
    with pytest.raises(ConfigError) as raised:
        check_settings({key: value})
    assert key in str(raised.value)


def test_settings_that_break_nothing_reach_the_client_and_the_guarantees_stand() -> None:
    extra = {"acks": "all", "enable.idempotence": "true", "linger.ms": "5", "security.protocol": "SSL"}
    check_settings(extra)
    settings = producer_settings("a:1", extra, 5000)
    assert (settings["linger.ms"], settings["security.protocol"]) == ("5", "SSL")
    assert (settings["acks"], settings["enable.gapless.guarantee"], settings["message.timeout.ms"]) == (
        "all",
        True,
        0,
    )
    assert settings["batch.size"] == 5000
    assert client_settings("a:1", {})["bootstrap.servers"] == "a:1"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)  # on a busy machine
@given_(st.dictionaries(st.sampled_from([option.name for option in fields(Config)]), values, max_size=4))
@example_({"ring_size": ""})
def test_no_value_does_worse_than_a_configuration_error(given: dict[str, Any]) -> None:
    with contextlib.suppress(ConfigError):
        assert isinstance(resolve(given, None), Config)
