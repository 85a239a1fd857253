"""What backend ``resolve`` asks about a path operation: ``ask`` in questions.h writes it."""

import io
from dataclasses import dataclass
from typing import Any

import fastavro

from fsmon_producer.record import CURRENT

_WATCHED, _OUR_ROOT = 1, 2  # hints
_AT_SYMLINK_NOFOLLOW, _AT_SYMLINK_FOLLOW = 0x100, 0x400
# By system call: those that never follow a symbolic link in the end, and the argument that says it of others.
_NEVER_FOLLOW = frozenset((94, 189, 198))  # lchown, lsetxattr, lremovexattr
# fchownat, utimensat, fchmodat2, setxattrat, removexattrat, file_setattr
_FLAGS_AT = {260: 4, 280: 3, 452: 3, 463: 2, 466: 2, 469: 4}
_LINKAT = 265
# Operations on a name; the others are on the file that it leads to.
_ON_NAMES = frozenset(("unlink", "rmdir", "rename", "exchange", "mkdir", "mknod", "bind", "symlink", "link"))
_FIRST_ARGUMENT = 2
_SCHEMA = fastavro.parse_schema(
    {
        "type": "record",
        "name": "Question",
        "fields": [
            {"name": "first", "type": "bytes"},
            {"name": "second", "type": "bytes"},
            {"name": "hints", "type": "long"},
            *({"name": f"argument{n}", "type": "long"} for n in range(_FIRST_ARGUMENT, 5)),
            {"name": "event", "type": CURRENT.kernel_bytes},
        ],
    }
)


@dataclass(frozen=True)
class Question:
    """A path operation that succeeded. Its paths begin at the process's root, and are not followed yet."""

    event: dict[str, Any]  # as the kernel wrote it, strings as bytes; paths are to be put in
    first: bytes
    second: bytes | None
    watched: bool  # for sure: a directory that is named directly is
    our_root: bool  # the process has the same root as we
    follows: bool  # a symbolic link at the first path's end
    of_name: bool  # it is about the first path's last name, not about what that leads to

    @classmethod
    def decode(cls, body: bytes) -> "Question":
        """From a record of the ring ``questions``, without its flag byte."""
        asked = fastavro.schemaless_reader(io.BytesIO(body), _SCHEMA, None)
        assert isinstance(asked, dict)
        event, call = asked["event"], asked["event"]["syscall"]
        op = event["op"]
        second = _joined(event["target_path"], asked["second"]) if asked["second"] else None
        follows = call not in _NEVER_FOLLOW
        if call in _FLAGS_AT:
            follows = not asked[f"argument{_FLAGS_AT[call]}"] & _AT_SYMLINK_NOFOLLOW
        if call == _LINKAT:
            follows = bool(asked["argument4"] & _AT_SYMLINK_FOLLOW)
        of_name = op in _ON_NAMES and not (op == "link" and follows and call == _LINKAT)
        return cls(
            event,
            _joined(event["path"], asked["first"]),
            second,
            watched=bool(asked["hints"] & _WATCHED),
            our_root=bool(asked["hints"] & _OUR_ROOT),
            follows=follows,
            of_name=of_name,
        )


def _joined(start: bytes, path: bytes) -> bytes:
    return path if path.startswith(b"/") else start.rstrip(b"/") + b"/" + path
