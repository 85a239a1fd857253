"""Capture reports as the ledger keeps them: the newest of a session, and two machines as one host."""

import logging
from collections.abc import Mapping
from typing import Any

from fsmon_consumer.ledger import Ranges
from fsmon_consumer.store import Database, as_json, statement

_log = logging.getLogger(__name__)
CLONED = 2  # turns of another boot between reports: a last one may have waited in a restarted host's spool
_SAID_AGAIN = 100  # reports later


def store(database: Database, report: Mapping[str, Any]) -> None:
    """Keep the report, unless a newer one of its session is there."""
    values = dict(report)
    for name in ("operations", "lost", "uncovered"):
        values[name] = as_json(values[name])
    values["dropped"] = Ranges.of((span["first"], span["end"]) for span in values["dropped"]).text()
    for (beside,) in database.rows(statement("store_report"), values):
        if beside % _SAID_AGAIN == CLONED:
            _log.error(
                "two producers send as one host: %s, where boot %s and a later one report by turns; is a "
                "machine cloned, with its machine id? Give each its own --host-id",
                report["host_id"], report["boot_id"],
            )  # fmt: skip
