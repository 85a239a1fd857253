"""`fsmon-producer` as it is, but capturing from a fake ring: --events N of them, then none.

Run as a program by test_command.py: arguments are the events to emit, then fsmon-producer's own.
"""

import sys
import threading
import time
from contextlib import suppress
from typing import Any

from fsmon_producer import cli, loader, service
from unit.producer.fake_capture import FakeCapture, FakeRing


def main() -> None:
    events = int(sys.argv.pop(1))
    capture = FakeCapture(1 << 20)

    def emit() -> None:
        with suppress(ValueError):  # the ring was closed: the producer has ended before the last event
            emit_all()

    def emit_all() -> None:
        for number in range(events):
            while capture.emit_event(pid=number) is None:
                capture.counted.lost["ring_full"].clear()
                time.sleep(0.001)

    def load(_settings: loader.CaptureSettings, **_: Any) -> Any:
        threading.Thread(target=emit, daemon=True).start()
        return capture

    loader.load = load  # type: ignore[assignment]
    vars(service)["kept"] = lambda *_: None  # there is no kernel to pin anything in
    vars(service)["Ring"] = lambda *_: FakeRing(capture)
    cli.main()


if __name__ == "__main__":
    main()
