UPDATE offsets AS o
SET
    next_offset = w.next_offset,
    leader_epoch = coalesce(w.leader_epoch, o.leader_epoch),
    messages = o.messages + w.messages,
    stored = o.stored + w.stored,
    duplicates = o.duplicates + w.duplicates,
    dead = o.dead + w.dead,
    expired = o.expired + w.expired,
    updated_at = clock_timestamp()
FROM unnest(
    %(topics)s::text[], %(partitions)s::integer[], %(next_offsets)s::bigint[],
    %(leader_epochs)s::integer[], %(messages)s::bigint[], %(stored)s::bigint[], %(duplicates)s::bigint[],
    %(dead)s::bigint[], %(expired)s::bigint[]
) AS w (topic, partition, next_offset, leader_epoch, messages, stored, duplicates, dead, expired)
WHERE o.topic = w.topic AND o.partition = w.partition
