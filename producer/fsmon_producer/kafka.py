"""What a Kafka client of the producer is configured with, and what its errors mean.

Settings given with ``--kafka KEY=VALUE`` reach librdkafka as they are, except those that would
break a guarantee. ``refusal`` tells errors that a person must mend from those that time mends.
"""

import logging
import sys
from collections.abc import Mapping, Sequence

from confluent_kafka import KafkaError, KafkaException, Producer
from fsmon_schemas.errors import ConfigError, FatalError, RetryableError

Settings = dict[str, object]

# librdkafka says the same at every attempt to connect: shown only when debugging. What a person
# must know of it is told by the modules that use the client.
CLIENT_LOG = logging.getLogger("fsmon_producer.librdkafka")
CLIENT_LOG.setLevel(logging.CRITICAL + 1)

# What fsmon promises rests on these; each maps the values that keep the promise to why.
_GUARANTEES: dict[str, tuple[frozenset[str], str]] = {
    "enable.idempotence": (frozenset({"true"}), "retries would store events twice and out of order"),
    "acks": (frozenset({"all", "-1"}), "an event would be released before every replica has it"),
    "request.required.acks": (
        frozenset({"all", "-1"}),
        "an event would be released before every replica has it",
    ),
    "enable.gapless.guarantee": (
        frozenset({"true"}),
        "an event could be lost between two that were delivered",
    ),
    "message.timeout.ms": (frozenset({"0"}), "events would be dropped when the broker is away"),
    "delivery.timeout.ms": (frozenset({"0"}), "events would be dropped when the broker is away"),
    "retries": (frozenset(), "events would be dropped after that many failures"),
    "message.send.max.retries": (frozenset(), "events would be dropped after that many failures"),
    "delivery.report.only.error": (frozenset({"false"}), "acknowledgements would never be seen"),
    "allow.auto.create.topics": (frozenset({"false"}), "topics would get the broker's default settings"),
    "transactional.id": (frozenset(), "the producer does not use transactions"),
    "batch.size": (frozenset(), "it is taken from the topic's max.message.bytes"),
    "message.max.bytes": (frozenset(), "it is taken from the topic's max.message.bytes"),
    "bootstrap.servers": (frozenset(), "use --bootstrap-servers"),
    "metadata.broker.list": (frozenset(), "use --bootstrap-servers"),
}

_ADVICE_LOGIN = "check sasl.mechanism, sasl.username and sasl.password, and that the listener speaks SASL"
_ADVICE_TLS = "check security.protocol, ssl.ca.location and the port: the listener may not speak TLS"
_ADVICE_ACL = (
    "grant this user Describe, DescribeConfigs and Write on the topic and IdempotentWrite on the cluster"
)
_REFUSALS = {
    KafkaError._AUTHENTICATION: _ADVICE_LOGIN,
    KafkaError.SASL_AUTHENTICATION_FAILED: _ADVICE_LOGIN,
    KafkaError.UNSUPPORTED_SASL_MECHANISM: _ADVICE_LOGIN,
    KafkaError.ILLEGAL_SASL_STATE: _ADVICE_LOGIN,
    KafkaError._SSL: _ADVICE_TLS,
    KafkaError.TOPIC_AUTHORIZATION_FAILED: _ADVICE_ACL,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: _ADVICE_ACL,
}
# Errors of a cluster that is away, starting or electing; KafkaError.retriable() speaks of transactions only.
TRANSIENT = (
    KafkaError._TRANSPORT,
    KafkaError._TIMED_OUT,
    KafkaError._TIMED_OUT_QUEUE,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._RESOLVE,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.NETWORK_EXCEPTION,
    KafkaError.BROKER_NOT_AVAILABLE,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.NOT_CONTROLLER,
    KafkaError.KAFKA_STORAGE_ERROR,
)
UNKNOWN_TOPIC = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION)


def check_settings(extra: Mapping[str, str]) -> None:
    """ConfigError for a setting under which fsmon could not keep its promises."""
    for key, value in extra.items():
        allowed, why = _GUARANTEES.get(key, (None, ""))
        if allowed is not None and value.lower() not in allowed:
            only = f"; only {' or '.join(sorted(allowed))} is possible" if allowed else ""
            raise ConfigError(f"--kafka {key}={value} is refused: {why}{only}")


def client_settings(bootstrap_servers: str, extra: Mapping[str, str]) -> Settings:
    """Settings of any client: where the cluster is, how to log in."""
    return {
        "bootstrap.servers": bootstrap_servers,
        "client.id": "fsmon-producer",
        "socket.keepalive.enable": True,
        "reconnect.backoff.max.ms": 2000,  # the default of 10 s would delay delivery after an outage
        **extra,
    }


def producer_settings(bootstrap_servers: str, extra: Mapping[str, str], largest_message: int) -> Settings:
    """Settings of the producer: no gap, no duplicate, no time-out, no batch the topic would refuse."""
    return {
        "compression.type": "lz4",
        "linger.ms": 50,
        # The ring keeps everything until it is acknowledged: this queue need not be large.
        "queue.buffering.max.messages": 200_000,
        "queue.buffering.max.kbytes": 65_536,
        **client_settings(bootstrap_servers, extra),
        "enable.idempotence": True,
        "acks": "all",
        "enable.gapless.guarantee": True,
        "message.timeout.ms": 0,
        "allow.auto.create.topics": False,
        # A topic deleted just after we looked it up would be waited for in silence for 30 s; so it is told.
        "topic.metadata.propagation.max.ms": 5000,
        # A broker holds a whole batch, not one message, against max.message.bytes (KIP-74).
        "batch.size": min(1_000_000, largest_message),
        "message.max.bytes": max(1_000_000, largest_message),
    }


def error_of(exception: KafkaException) -> KafkaError:
    """The KafkaError that a KafkaException carries."""
    error = exception.args[0]
    assert isinstance(error, KafkaError)
    return error


def refusal(error: KafkaError) -> FatalError | None:
    """The error to stop with where the cluster refuses us; None where trying again may help."""
    advice = _REFUSALS.get(error.code())
    return FatalError(f"Kafka refuses: {error.str()}: {advice}") if advice else None


def configuration_error(exception: KafkaException) -> ConfigError:
    """For what librdkafka says to settings it cannot use."""
    return ConfigError(
        f"Kafka client settings: {error_of(exception).str()}: see --kafka and --bootstrap-servers"
    )


def away(error: KafkaError) -> RetryableError:
    """The cluster did not answer."""
    return RetryableError(f"Kafka does not answer: {error.str()}")


def most_telling(errors: Sequence[KafkaError]) -> KafkaError:
    """Of errors told while no broker answered, one that says why, if there is one."""
    return next((error for error in errors if error.code() != KafkaError._ALL_BROKERS_DOWN), errors[-1])


def serve(producer: Producer, seconds: float) -> KafkaError | None:
    """Run the producer's callbacks; the fatal error, if it has one."""
    raised: object = None
    try:
        producer.poll(seconds)
    except:  # noqa: E722 - a fatal error is raised as a KafkaError, which is no BaseException
        raised = sys.exc_info()[1]
    # Outside the except clause, or the KafkaError would become the __context__ of what is raised.
    if isinstance(raised, KafkaException):
        return error_of(raised)
    if isinstance(raised, KafkaError):
        return raised
    if isinstance(raised, BaseException):
        raise raised
    return None
