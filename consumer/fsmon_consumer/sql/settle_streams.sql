INSERT INTO streams AS s (host_id, session, partition, seen, stored, duplicates, dead, expired, last_event_time)
SELECT host_id, session, partition, seen::int8multirange, stored, duplicates, dead, expired, last_event_time
FROM unnest(
    %(hosts)s::text[], %(sessions)s::bigint[], %(partitions)s::integer[], %(seen)s::text[], %(stored)s::bigint[],
    %(duplicates)s::bigint[], %(dead)s::bigint[], %(expired)s::bigint[], %(last_times)s::timestamptz[]
) AS w (host_id, session, partition, seen, stored, duplicates, dead, expired, last_event_time)
ORDER BY host_id, session
ON CONFLICT (host_id, session) DO UPDATE SET
    seen = s.seen + EXCLUDED.seen,
    stored = s.stored + EXCLUDED.stored,
    duplicates = s.duplicates + EXCLUDED.duplicates,
    dead = s.dead + EXCLUDED.dead,
    expired = s.expired + EXCLUDED.expired,
    last_event_time = greatest(s.last_event_time, EXCLUDED.last_event_time),
    updated_at = clock_timestamp()
