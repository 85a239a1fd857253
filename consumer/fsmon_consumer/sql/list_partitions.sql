SELECT
    c.relname,
    greatest(c.reltuples, 0)::bigint,
    pg_total_relation_size(c.oid),
    i.inhdetachpending
FROM pg_inherits AS i
JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'file_events'::regclass AND c.relname ~ '^file_events_[0-9]{10}$'  -- others are not ours
ORDER BY c.relname
