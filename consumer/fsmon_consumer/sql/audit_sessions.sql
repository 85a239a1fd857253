SELECT
    coalesce(r.host_id, s.host_id) AS host_id,
    coalesce(r.session, s.session) AS session,
    r.state, r.end_reason, r.time, r.boot_id,
    r.emitted, r.acked_seq, r.acked_partition, r.acked_offset, r.lost, r.uncovered,
    r.operations, r.session_start, r.dropped::text, r.placed_seq,
    coalesce(s.seen, '{}')::text AS seen,
    coalesce(s.stored, 0), coalesce(s.duplicates, 0), coalesce(s.dead, 0), coalesce(s.expired, 0)
FROM reports AS r
FULL JOIN streams AS s USING (host_id, session)
ORDER BY 1, coalesce(r.session_start, s.first_stored_at), 2
