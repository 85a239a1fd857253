"""Which capture a run works on: the one that the producer before it left, or a new one that takes its turn.

A new one is attached while the old goes on, reports nothing, and gets the turn by one write: no gap between.
What the old one has left in its ring is its own session still, and is delivered to its end.
"""

import logging
import os
import time
from dataclasses import dataclass, replace

from fsmon_bpf.syscalls import Uncovered
from fsmon_schemas.schema import FILE_EVENT

from fsmon_producer import loader
from fsmon_producer.config import Config
from fsmon_producer.identity import Session
from fsmon_producer.pins import Identity, Pinned, Pins
from fsmon_producer.probe import answering
from fsmon_producer.programs import LOSS_STAGES, OPERATIONS, Capture

_log = logging.getLogger(__name__)
# How long both are asked at the end of each call. A task that is kept from running for longer between the two
# could have that call reported by both.
_HANDING_OVER = 1.0


@dataclass
class Begun:
    """The capture of this run; those of before that are to be brought to their end."""

    capture: Capture
    identity: Identity
    new: bool
    ending: list[Pinned]

    @property
    def session(self) -> Session:
        """Whose events are captured."""
        return self.identity.session

    def bind(self, partition: int) -> None:
        """Remember to which partition the session's events go."""
        self.identity = replace(self.identity, partition=partition)
        if self.capture.pinned is not None:
            self.capture.pinned.bind(partition)


def begin(config: Config, session: Session, pins: Pins | None) -> Begun:
    """Take over what is pinned if it is what ``config`` asks for; else load, and let ``session`` begin."""
    settings = loader.CaptureSettings(
        watch=config.watch,
        exclude=config.exclude,
        ops=config.op,
        ignore_pids=config.ignore_pid,
        ring_bytes=config.ring_size,
        backend=config.backend,
    )
    plan = loader.plan(settings)
    wanted = _identity(config, session, plan)
    if pins is not None and plan.backend.asks:
        _log.error(
            "backend %s asks this process what paths mean: capture ends with it, and a restart leaves a gap",
            plan.backend.name,
        )
        pins = None
    if pins is None:
        return Begun(loader.load(settings, first=answering), wanted, new=True, ending=[])
    pinned = pins.sessions()
    turn = pins.turn()
    current = next((one for one in pinned if one.identity.session.id == turn and one.attached), None)
    ending = [one for one in pinned if one is not current]
    why = _difference(current.identity, wanted) if current is not None else ""
    if current is not None and any(one.attached for one in ending):
        # The run before this one may have been killed while it handed over: complete that, or what is
        # attached last goes on waiting for what a detached one leaves to it, and nothing is reported.
        time.sleep(_HANDING_OVER)
        current.take_turn()
    for one in ending:
        one.unpin_links()
    if current is not None and not why:
        return Begun(_taken_over(current, config, plan, wanted), current.identity, new=False, ending=ending)
    pins.forget_handed_over()
    capture = loader.load(settings, answering, loader.Turn(pins.directory, session.id))
    try:
        capture.keep(pins, wanted)
    except BaseException:
        capture.close()
        raise
    if current is not None:
        current.end_because(f"replaced by session {session.id}: {why}")
    pins.give_turn(session.id)
    if current is not None:
        time.sleep(_HANDING_OVER)
    capture.take_turn(session.id)
    if current is not None:
        current.unpin_links()
        _log.warning(
            "session %d ends: %s; the next one began without a gap", current.identity.session.id, why
        )
        ending.append(current)
    return Begun(capture, wanted, new=True, ending=ending)


def _taken_over(pinned: Pinned, config: Config, plan: loader.Plan, wanted: Identity) -> Capture:
    capture = Capture(pinned.objects(), plan.backend, plan.on.hooks, plan.ring_bytes)
    capture.take_over(pinned)
    capture.ignore([os.getpid(), *config.ignore_pid])
    capture.take_turn(pinned.identity.session.id)
    capture.sync_clock()
    same = (pinned.identity.watch, pinned.identity.exclude) == (wanted.watch, wanted.exclude)
    capture.resume(config.watch, config.exclude, forget=not same)
    return capture


def _identity(config: Config, session: Session, plan: loader.Plan) -> Identity:
    return Identity(
        session=session,
        build=plan.build,
        backend=plan.backend.name,
        ring_bytes=plan.ring_bytes,
        topic=config.topic,
        reports_topic=config.reports_topic,
        schema=FILE_EVENT.text,
        operations=OPERATIONS,
        stages=LOSS_STAGES,
        uncovered={kind.name.lower(): int(kind) for kind in Uncovered},
        watch=tuple(map(str, config.watch)),
        exclude=tuple(map(str, config.exclude)),
    )


def _difference(there: Identity, wanted: Identity) -> str:
    """Why the capture that is there cannot go on as what is wanted; empty if it can."""
    if there.session.host_id != wanted.session.host_id:
        return f"the host is called {wanted.session.host_id} now"
    for name in ("topic", "reports_topic", "backend", "ring_bytes"):
        if getattr(there, name) != getattr(wanted, name):
            return f"{name} is {getattr(wanted, name)} now"
    if there.schema != wanted.schema:
        return "the schema is another"
    return "" if there.build == wanted.build else "the programs, or the operations asked for, are others"
