"""Which seqs a full spool gave up, as the names of files say: the declaration outlives every kill.

A segment is dropped by renaming it to the range it held, ``FIRST-END.dropped``: one step of the file system
that needs no room on a full disk. Before it the events are there, after it they are declared. What was
declared is reported as long as the session lives.
"""

import logging
import os
import re
from collections.abc import Iterable

_log = logging.getLogger(__name__)
_NAME = re.compile(r"(\d{20})-(\d{20})\.dropped")

_MOST = (1 << 63) - 1  # an Avro long

Span = tuple[int, int]  # of seqs: first, end (exclusive)


class Dropped:
    """Those of one spool's directory, given by its descriptor."""

    def __init__(self, directory: int, names: Iterable[str]) -> None:
        """As the names say; what a kill left half done is completed. OSError for what is no file."""
        self._directory = directory
        self.spans: list[Span] = []  # in order
        found = [(int(match[1]), int(match[2])) for match in map(_NAME.fullmatch, names) if match]
        for first, end in sorted(found, key=lambda span: (span[0], -span[1])):
            if not first < end <= _MOST:
                continue  # none of ours
            if self.spans and end <= self.spans[-1][1]:
                self._unlink((first, end))  # widened, and the narrower name not removed yet
            else:
                self._empty((first, end))
                self.spans.append((first, end))

    def take(self, segment: str, span: Span) -> None:
        """Declare that range durably, and with it remove the file of that name, which holds it.

        OSError where the disk refuses the name: then nothing is declared.
        """
        narrower = [self.spans[-1]] if self.spans and self.spans[-1][1] >= span[0] else []
        whole = (narrower or [span])[0][0], span[1]
        os.rename(segment, _name_of(whole), src_dir_fd=self._directory, dst_dir_fd=self._directory)
        self.spans = [*self.spans[: len(self.spans) - len(narrower)], whole]
        try:
            os.fsync(self._directory)
            self._empty(whole)
            for each in narrower:
                self._unlink(each)
        except OSError as error:
            _log.warning("what was dropped keeps its room on the disk till the next start: %s", error)

    def _empty(self, span: Span) -> None:
        """Give the bytes back to the disk."""
        flags = os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(_name_of(span), flags, dir_fd=self._directory))

    def _unlink(self, span: Span) -> None:
        os.unlink(_name_of(span), dir_fd=self._directory)

    def remove(self) -> None:
        """Forget all: the session's last report has arrived."""
        for span in self.spans:
            self._unlink(span)
        self.spans = []


def _name_of(span: Span) -> str:
    return f"{span[0]:020d}-{span[1]:020d}.dropped"
