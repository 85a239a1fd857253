-- End the backend that holds a partition's row; backend_start guards against a pid used again.
SELECT pg_terminate_backend(a.pid), o.worker
FROM offsets AS o
JOIN pg_stat_activity AS a ON a.pid = o.backend_pid AND a.backend_start = o.backend_start
WHERE o.topic = %(topic)s AND o.partition = %(partition)s AND a.pid <> pg_backend_pid()
