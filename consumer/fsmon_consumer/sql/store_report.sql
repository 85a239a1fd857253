-- Reports are cumulative: only the newest counts. An offset once known is kept with the seq that it came with,
-- and what was declared dropped.
INSERT INTO reports AS r (
    host_id, session, time, boot_time, session_start, boot_id, hostname, kernel, version, backend, state, end_reason,
    emitted, next_seq, acked_seq, backlog, acked_partition, acked_offset, operations, lost, uncovered, dropped,
    placed_seq, first_boot_time
)
VALUES (
    %(host_id)s, %(session)s, %(time)s, %(boot_time)s, %(session_start)s, %(boot_id)s, %(hostname)s, %(kernel)s,
    %(version)s, %(backend)s, %(state)s, %(end_reason)s, %(emitted)s, %(next_seq)s, %(acked_seq)s, %(backlog)s,
    %(acked_partition)s, %(acked_offset)s, %(operations)s, %(lost)s, %(uncovered)s,
    %(dropped)s::text::int8multirange, CASE WHEN %(acked_offset)s::bigint IS NULL THEN 0 ELSE %(acked_seq)s END,
    %(boot_time)s
)
ON CONFLICT (host_id, session) DO UPDATE SET
    time = EXCLUDED.time,
    boot_time = EXCLUDED.boot_time,
    session_start = EXCLUDED.session_start,
    boot_id = EXCLUDED.boot_id,
    hostname = EXCLUDED.hostname,
    kernel = EXCLUDED.kernel,
    version = EXCLUDED.version,
    backend = EXCLUDED.backend,
    state = EXCLUDED.state,
    end_reason = EXCLUDED.end_reason,
    emitted = EXCLUDED.emitted,
    next_seq = EXCLUDED.next_seq,
    acked_seq = EXCLUDED.acked_seq,
    backlog = EXCLUDED.backlog,
    acked_partition = coalesce(EXCLUDED.acked_partition, r.acked_partition),
    acked_offset = coalesce(EXCLUDED.acked_offset, r.acked_offset),
    operations = EXCLUDED.operations,
    lost = EXCLUDED.lost,
    uncovered = EXCLUDED.uncovered,
    dropped = r.dropped + EXCLUDED.dropped,
    placed_seq = CASE WHEN EXCLUDED.acked_offset IS NULL THEN r.placed_seq ELSE EXCLUDED.acked_seq END,
    -- By turns, of sessions that were there at one time: not what is only read late, or replayed.
    beside = r.beside + (
        EXCLUDED.boot_time > r.boot_time AND EXISTS (
            SELECT FROM reports AS o
            WHERE o.host_id = r.host_id AND o.boot_id <> r.boot_id AND o.arrival > r.arrival
                AND o.stored_at > r.stored_at
                AND o.time > r.session_start AND EXCLUDED.time > o.session_start
        )
    )::integer,
    first_boot_time = coalesce(r.first_boot_time, EXCLUDED.boot_time), -- a worker of before the column has none
    stored_at = clock_timestamp()
WHERE EXCLUDED.boot_time >= r.boot_time
RETURNING beside
