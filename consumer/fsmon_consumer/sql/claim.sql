-- Take a partition: a higher epoch fences off whoever had it before.
INSERT INTO offsets AS o (
    topic, partition, topic_id, epoch, next_offset,
    worker, backend_pid, backend_start, claimed_at, updated_at
)
SELECT
    %(topic)s, %(partition)s, %(topic_id)s, 1, %(log_start)s,
    %(worker)s, a.pid, a.backend_start, clock_timestamp(), clock_timestamp()
FROM pg_stat_activity AS a
WHERE a.pid = pg_backend_pid()
ON CONFLICT (topic, partition) DO UPDATE SET
    epoch = o.epoch + 1,
    worker = EXCLUDED.worker,
    backend_pid = EXCLUDED.backend_pid,
    backend_start = EXCLUDED.backend_start,
    claimed_at = EXCLUDED.claimed_at,
    paused = NULL
RETURNING epoch, next_offset, topic_id, leader_epoch
