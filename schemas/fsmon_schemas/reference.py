"""``python -m fsmon_schemas.reference``: the schemas as a page for people, docs/schema.md.

Everything on the page is read from the .avsc files; only the mapping of operations to OCSF and ECS
is kept here, because it has no place in Avro.
"""

import re
import sys
from collections.abc import Iterator
from typing import Any

from fsmon_schemas.schema import CAPTURE_REPORT, FILE_EVENT, Schema

# OCSF 1.3, class 1001 File System Activity, activity_id.
ACTIVITIES = {
    1: "Create",
    2: "Read",
    3: "Update",
    4: "Delete",
    5: "Rename",
    6: "Set Attributes",
    7: "Set Security",
    12: "Mount",
    13: "Unmount",
    14: "Open",
    99: "Other",
}

# op -> (OCSF activity_id, ECS event.type), as the consumer's views have them. What OCSF's class 1001
# has no word for is 99 Other.
OPERATIONS = {
    "unknown": (99, "change"),
    "create": (1, "creation"),
    "open": (14, "access"),
    "read": (2, "access"),
    "write": (3, "change"),
    "truncate": (3, "change"),
    "fallocate": (3, "change"),
    "unlink": (4, "deletion"),
    "rmdir": (4, "deletion"),
    "rename": (5, "change"),
    "exchange": (5, "change"),
    "mkdir": (1, "creation"),
    "mknod": (1, "creation"),
    "link": (1, "creation"),
    "symlink": (1, "creation"),
    "chmod": (7, "change"),
    "chown": (7, "change"),
    "utimens": (6, "change"),
    "setxattr": (6, "change"),
    "removexattr": (6, "change"),
    "mmap": (99, "change"),
    "exec": (99, "start"),
    "readdir": (2, "access"),
    "clone": (3, "change"),
    "setflags": (6, "change"),
    "mprotect": (99, "change"),
    "mount": (12, "change"),
    "unmount": (13, "change"),
    "move_mount": (12, "change"),
    "bind": (99, "change"),
}

_HEAD = """\
# Schema reference

Made by `make docs` from `schemas/fsmon_schemas/*.avsc`; a test fails when it is stale. The table
`file_events` has the same columns under the same names.

A Kafka message holds one record behind a frame: `00` and the 4-byte id of the schema where a
registry is used, else `C3 01` and the 8-byte CRC-64-AVRO fingerprint (Avro's single-object
encoding). The record's timestamp is the broker's; the event's own time is in the record.
"""

_DOC = re.compile(r"(?P<text>.*?)(?: ECS (?P<ecs>[\w@.]+))?(?:,? OCSF (?P<ocsf>[\w.]+))?\.", re.DOTALL)


def page() -> str:
    """The whole of docs/schema.md."""
    parts = [_HEAD, *_section(FILE_EVENT), *_operations(), *_section(CAPTURE_REPORT)]
    return "\n".join(parts)


def _section(schema: Schema) -> Iterator[str]:
    declared = schema.declared
    yield f"## {declared['name']}\n\n{declared['doc']}\n"
    yield "| Field | Type | Meaning | ECS | OCSF |\n|---|---|---|---|---|"
    for field in declared["fields"]:
        doc = _DOC.fullmatch(field["doc"])
        assert doc is not None, f"the doc of {field['name']} does not end in a full stop"
        cells = [
            f"`{field['name']}`",
            _type(field["type"]),
            f"{doc['text'].removesuffix('.')}.",
            _code(doc["ecs"]),
            _code(doc["ocsf"]),
        ]
        yield f"| {' | '.join(cells)} |"
    yield ""
    for field in declared["fields"]:
        if isinstance(field["type"], dict) and field["type"]["type"] == "enum":
            symbols = ", ".join(f"`{symbol}`" for symbol in field["type"]["symbols"])
            yield f"**{field['type']['name']}** (`{field['name']}`): {symbols}. Others read as `unknown`.\n"


def _operations() -> Iterator[str]:
    yield "### Operations in OCSF and ECS\n\n| op | OCSF activity_id | ECS event.type |\n|---|---|---|"
    for operation, (activity, event_type) in OPERATIONS.items():
        yield f"| `{operation}` | {activity} {ACTIVITIES[activity]} | {event_type} |"
    yield ""


def _type(avro: Any) -> str:
    if isinstance(avro, str):
        return avro
    if isinstance(avro, list):
        return f"{_type(avro[1])} or null"
    if "logicalType" in avro:
        return f"{avro['type']}, {avro['logicalType']}"
    words = {
        "enum": lambda: f"enum {avro['name']}",
        "array": lambda: f"array of {_type(avro['items'])}",
        "map": lambda: f"map of {_type(avro['values'])}",
        "record": lambda: ", ".join(f"{field['name']}: {_type(field['type'])}" for field in avro["fields"]),
    }
    return words[avro["type"]]()


def _code(name: str | None) -> str:
    return f"`{name}`" if name else ""


if __name__ == "__main__":
    sys.stdout.write(page())
