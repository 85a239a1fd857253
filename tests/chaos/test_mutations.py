"""Messages damaged on their way: what cannot be believed is set aside, no neighbour is lost or altered."""

import os
import random
from pathlib import Path

import psycopg
import pytest
from chaos.conftest import Grounds
from chaos.rounds import Rounds, long_form
from chaos.scene import Scene, scene
from chaos.verify import assert_sums, resident_idle
from fsmon_schemas import CAPTURE_REPORT
from fsmon_schemas.framing import single_object_prefix
from integration.consumer.running import wait_until
from simulated_host import SimulatedHost

pytestmark = pytest.mark.services
MUTATED = 3_000  # of a short round
MANY = int(os.environ.get("FSMON_CHAOS_MUTATED", "100000"))  # of a long one, and all of them to one worker
SOUND = 2  # for each mutated one
# Then a host begins another session, as after a restart: a flush holds what a session lacks, and a thousand
# holes are more than enough.
RESTARTED = 1000
# Of a long round, between its halves: the least that the worker keeps while idle, with all stored, looked at
# eight times. At work it has 300 to 650 MiB, up and down with the batch in hand, and what malloc keeps of it
# varies by 50: it adds to what leaks, so the least tells.
FLAT_BYTES = 32 << 20
LOOKS = 8
_REPORT = single_object_prefix(CAPTURE_REPORT)


def test_mutations(rounds: Rounds, grounds: Grounds, tmp_path: Path) -> None:
    for this in rounds:
        with scene(grounds.of(1), tmp_path / str(this.number), this.dice, workers=1) as played:
            this.figures |= damaged_stream(played, MANY if long_form() else MUTATED)


def damaged_stream(played: Scene, count: int) -> dict[str, float]:
    """Every third message of each host is damaged; the two others have to be there as they were sent."""
    dice, fleet, site = played.dice, played.fleet, played.site
    [worker] = played.workers
    messages_read = "SELECT coalesce(sum(messages), 0) FROM offsets WHERE topic LIKE '%events'"
    patience = 180 + count / 50  # seconds; a busy machine takes some 100 bad ones in one
    sound: list[tuple[str, int, int]] = []
    idle: list[int] = []  # the worker's bytes
    each, everyone = count // len(fleet.hosts), list(fleet.hosts)
    rest = each // LOOKS
    for step in range(each):
        if step and step % RESTARTED == 0:
            fleet.send(2)
            fleet.report()
            fleet.hosts = [
                SimulatedHost(host.host_id, dice.getrandbits(63), host.frame, host.start_us)
                for host in fleet.hosts
            ]
            everyone += fleet.hosts
        if long_form() and step % rest == 0 and 0 < step < LOOKS * rest:
            fleet.flush()
            sent = sum(host.sent for host in everyone)
            wait_until(lambda sent=sent: site.value(messages_read) == sent, patience)  # type: ignore[misc]
            idle.append(resident_idle(worker.process.pid))
        for host in fleet.hosts:
            bad = dice.randrange(SOUND + 1)
            for index, value in enumerate(list(host.messages(SOUND + 1))):
                if index != bad:
                    sound.append((host.host_id, host.session, host.sent - SOUND - 1 + index))
                sent_as = mutated(dice, value, host) if index == bad else value
                fleet.send_raw(fleet.partition(host), host.key, sent_as)
        if step % 20 == 0:
            fleet.producer.poll(0)
    fleet.send(2)
    fleet.report()
    assert worker.process.poll() is None
    audit = site.settled(patience)
    assert audit["behind"] == 0
    assert worker.process.poll() is None, played.logs()
    assert_sums(site)
    sent = sum(host.sent for host in everyone)
    [(messages, stored, duplicates, dead, expired)] = site.rows(
        "SELECT sum(messages), sum(stored), sum(duplicates), sum(dead), sum(expired) FROM offsets "
        "WHERE topic LIKE '%events'"
    )
    assert messages == sent == stored + duplicates + dead + expired
    assert site.value("SELECT count(*) FROM file_events") == stored
    assert site.value("SELECT count(*) FROM dead_letters") == dead
    with psycopg.connect(site.dsn) as connection:
        rows = set(connection.execute("SELECT host_id, session, seq FROM file_events").fetchall())
    missing = [identity for identity in sound if identity not in rows]
    assert missing == [], (len(missing), letters(played, missing[:3]))
    altered = sound_rows_altered(played, everyone, sound)
    assert altered == [], altered[:3]
    figures: dict[str, float] = {}
    if long_form():
        idle.append(resident_idle(worker.process.pid))
        early, late = min(idle[: LOOKS // 2]), min(idle[LOOKS // 2 :])
        assert late - early < FLAT_BYTES, [held >> 20 for held in idle]
        figures = {"MiB idle early": early >> 20, "MiB idle late": late >> 20}
    reasons = dict(site.rows("SELECT reason, count(*) FROM dead_letters GROUP BY 1"))
    return {
        "mutated": each * len(fleet.hosts),
        **figures,
        "stored": int(stored),
        "dead": int(dead),
        "expired": int(expired),
        **reasons,
    }


def mutated(dice: random.Random, value: bytes, host: SimulatedHost) -> bytes:
    """Flipped bits, cut short, random bytes, or a valid record of another schema."""
    match dice.randrange(6):
        case 0 | 1 | 2:
            changed = bytearray(value)
            for _ in range(dice.choice((1, 1, 2, 8))):
                changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
            return bytes(changed)
        case 3:
            return value[: dice.randrange(len(value))]
        case 4:
            return dice.randbytes(dice.randrange(1, 400))
        case _:
            report = host.report(acked=0, partition=None, offset=None, ended=False)
            return dice.choice((_REPORT + report, host.frame + report, host.frame + encode_other(host)))


def encode_other(host: SimulatedHost) -> bytes:
    """A report of CaptureReport's first fields, which begin as FileEvent's do."""
    return host.report(acked=1, partition=1, offset=1, ended=True)[:-1]


def sound_rows_altered(
    played: Scene, everyone: list[SimulatedHost], sound: list[tuple[str, int, int]]
) -> list[object]:
    """Identities of sound messages whose row is not what was sent."""
    hosts = {(host.host_id, host.session): host for host in everyone}
    wanted, altered = set(sound), list[object]()
    with psycopg.connect(played.site.dsn) as connection:
        names = [name for name in everyone[0].event(0) if name != "time"]
        columns = ", ".join(f'"{name}"' for name in names)
        micros = "(extract(epoch FROM time) * 1000000)::bigint"
        for micro, *row in connection.execute(f"SELECT {micros}, {columns} FROM file_events"):
            found = dict(zip(names, row, strict=True)) | {"time": micro}
            identity = found["host_id"], found["session"], found["seq"]
            if identity in wanted and found != hosts[identity[:2]].event(found["seq"]):
                altered.append(identity)
    return altered


def letters(played: Scene, missing: list[tuple[str, int, int]]) -> list[object]:
    """What was set aside for its identity, to be put beside what is missing."""
    aside = "SELECT partition, message_offset, reason, detail FROM dead_letters WHERE reason IN "
    return [*played.site.rows(f"{aside} ('out_of_place', 'identity_conflict') ORDER BY 1, 2"), *missing]
