"""Changes of what is watched, asked for by `fsmon-producer filter` or by SIGHUP, made between two batches."""

import logging
import signal
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from fsmon_schemas.errors import ConfigError, FsmonError

from fsmon_producer.capture import Capture
from fsmon_producer.config import Config
from fsmon_producer.control import Control, Message

_log = logging.getLogger(__name__)
_IN_FORCE_AT_ONCE = ("watch", "exclude")


class Filter:
    """What is watched, and who may change it. Used by the thread that owns the capture."""

    def __init__(
        self,
        capture: Capture,
        config: Config,
        *,
        control: Control | None = None,
        reread: Callable[[], Config] | None = None,
    ) -> None:
        self._capture = capture
        self._config = config
        self._control = control
        self._reread = reread
        self._hung_up = False
        if reread is not None:
            signal.signal(signal.SIGHUP, self._on_hangup)

    def serve(self) -> None:
        """Make the changes that were asked for since the last call."""
        if self._hung_up:
            self._hung_up = False
            self._reload()
        if self._control is not None:
            self._control.serve(self._answer)

    def _on_hangup(self, *_: object) -> None:
        self._hung_up = True

    def _reload(self) -> None:
        """Have what the file says; with an error in it, everything stays as it is."""
        assert self._reread is not None
        try:
            config = self._reread()
            added, removed = self._capture.rewatch(config.watch, config.exclude)
        except FsmonError as error:
            _log.error("SIGHUP: %s; what is watched stays as it was", error)
            return
        told = [f"added {path}" for path in added] + [f"removed {path}" for path in removed]
        _log.info("SIGHUP: what is watched: %s", ", ".join(told) or "no change")
        later = [
            option.name
            for option in fields(Config)
            if option.name not in _IN_FORCE_AT_ONCE
            and getattr(config, option.name) != getattr(self._config, option.name)
        ]
        if later:
            _log.warning("SIGHUP: %s: changed in the file, in force at the next start", ", ".join(later))

    def _answer(self, request: Message) -> Message:
        do, path, exclude = request.get("do"), Path(str(request.get("path"))), bool(request.get("exclude"))
        if do in ("add", "remove"):
            if not path.is_absolute():
                raise ConfigError(f"{path} is no absolute path")
            if do == "add":
                self._capture.watch(path, exclude=exclude)
            else:
                self._capture.unwatch(path, exclude=exclude)
            _log.info("filter: %s %s%s", do, path, " (exclude)" if exclude else "")
        elif do != "list":
            raise ConfigError(f"{do!r} should be add, remove or list")
        rules = [
            {"path": str(rule.path), "exclude": rule.exclude, "inode": str(rule.inode), "stands": rule.stands}
            for rule in self._capture.watched()
        ]
        return {"rules": rules}
