-- Dead letters, oldest first; a condition that is NULL holds for all.
SELECT
    topic, topic_id, partition, message_offset, key, value, schema_ref, reason, detail, host_id, session, seq, stored_at
FROM dead_letters
WHERE (%(names)s::text[] IS NULL OR topic || '/' || partition || '/' || message_offset = ANY (%(names)s))
    AND (%(reasons)s::text[] IS NULL OR reason = ANY (%(reasons)s))
    AND (%(keys)s::bytea[] IS NULL OR key = ANY (%(keys)s))
    AND (%(before)s::timestamptz IS NULL OR stored_at < %(before)s)
ORDER BY stored_at, topic, partition, message_offset
LIMIT %(limit)s
