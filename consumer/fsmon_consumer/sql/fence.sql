-- Lock the partitions of a flush, always in this order, and say what they hold.
SELECT o.topic, o.partition, o.topic_id, o.epoch, o.next_offset
FROM offsets AS o
JOIN unnest(%(topics)s::text[], %(partitions)s::integer[]) AS w (topic, partition) USING (topic, partition)
ORDER BY o.topic, o.partition
FOR UPDATE OF o
