INSERT INTO streams (host_id, session, partition)
SELECT host_id, session, partition
FROM unnest(%(hosts)s::text[], %(sessions)s::bigint[], %(partitions)s::integer[]) AS w (host_id, session, partition)
ORDER BY host_id, session
ON CONFLICT DO NOTHING
