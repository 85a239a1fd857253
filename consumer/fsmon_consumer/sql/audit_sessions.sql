-- A host's sessions in the order they began: boots by their first report, those of a boot by their boot time.
SELECT
    coalesce(r.host_id, s.host_id) AS host_id,
    coalesce(r.session, s.session) AS session,
    r.state, r.end_reason, r.time, r.boot_id,
    r.emitted, r.acked_seq, r.acked_partition, r.acked_offset, r.lost, r.uncovered,
    r.operations, r.dropped::text, r.placed_seq, r.boot_time, coalesce(r.first_boot_time, r.boot_time), r.beside,
    coalesce(s.seen, '{}')::text AS seen,
    coalesce(s.stored, 0), coalesce(s.duplicates, 0), coalesce(s.dead, 0), coalesce(s.expired, 0)
FROM reports AS r
FULL JOIN streams AS s USING (host_id, session)
ORDER BY 1, min(r.arrival) OVER (PARTITION BY r.host_id, r.boot_id), coalesce(r.first_boot_time, r.boot_time),
    s.first_stored_at, 2
