-- Of events whose identity is settled: which are stored as they are, or lie in dead_letters.
SELECT w.number
FROM unnest(
    %(numbers)s::integer[], %(hosts)s::text[], %(sessions)s::bigint[], %(seqs)s::bigint[],
    %(times)s::timestamptz[], %(boot_times)s::bigint[]
) AS w (number, host_id, session, seq, time, boot_time)
JOIN file_events AS e USING (host_id, session, seq, time, boot_time)
WHERE e.time BETWEEN %(first)s AND %(last)s
UNION
SELECT w.number
FROM unnest(%(numbers)s::integer[], %(hosts)s::text[], %(sessions)s::bigint[], %(seqs)s::bigint[])
    AS w (number, host_id, session, seq)
JOIN dead_letters USING (host_id, session, seq)
