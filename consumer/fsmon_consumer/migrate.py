"""The database's schema, step by step: numbered files under sql/migrations, applied once and in order."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files

from fsmon_schemas import FatalError

from fsmon_consumer.store import Database, statement

_LOCK = 0x66736D6F_6E000001  # pg_advisory_lock key: "fsmon", 1


@dataclass(frozen=True)
class Migration:
    """One file: its number, its name without the number, and its SQL."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the SQL, in hex."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations() -> list[Migration]:
    """All that this version knows, in order."""
    found = []
    for file in sorted(
        (files("fsmon_consumer") / "sql" / "migrations").iterdir(), key=lambda each: each.name
    ):
        number, _, name = file.name.removesuffix(".sql").partition("_")
        found.append(Migration(int(number), name, file.read_text(encoding="utf-8")))
    return found


def migrate(database: Database) -> list[Migration]:
    """Apply what is missing, each in its own transaction; returns what was applied.

    Concurrent calls wait for each other. FatalError where the database is newer than this
    version or holds a migration that differs from ours.
    """
    database.rows("SELECT pg_advisory_lock(%s)", [_LOCK])
    try:
        database.rows(statement("migrations_table"))
        done = _applied(database)
        missing = [each for each in migrations() if each.number not in done]
        for each in missing:
            with database.transaction():
                database.rows(each.sql)
                database.rows(
                    "INSERT INTO migrations (number, name, checksum) VALUES (%s, %s, %s)",
                    [each.number, each.name, each.checksum],
                )
        return missing
    finally:
        database.rows("SELECT pg_advisory_unlock(%s)", [_LOCK])


def require_current(database: Database) -> None:
    """FatalError unless every migration of this version, and no other, has been applied."""
    [(there,)] = database.rows("SELECT to_regclass('migrations') IS NOT NULL")
    if not there:
        raise FatalError("the database has no fsmon schema; run fsmon-consumer migrate")
    done = _applied(database)
    missing = [f"{each.number:04}_{each.name}" for each in migrations() if each.number not in done]
    if missing:
        raise FatalError(
            f"the database's schema is older than this fsmon-consumer (missing {', '.join(missing)}); "
            "run fsmon-consumer migrate"
        )


def _applied(database: Database) -> set[int]:
    known = {each.number: each for each in migrations()}
    done = set()
    for number, name, checksum in database.rows("SELECT number, name, checksum FROM migrations"):
        if number not in known:
            raise FatalError(
                f"the database has migration {number:04}_{name}, which this fsmon-consumer does not know: "
                "it is newer; upgrade fsmon-consumer"
            )
        if checksum != known[number].checksum:
            raise FatalError(
                f"migration {number:04}_{name} in the database differs from this version's; "
                "use the fsmon-consumer that made it, or a new database"
            )
        done.add(number)
    return done
