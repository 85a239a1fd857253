DELETE FROM dead_letters AS d
USING unnest(%(topics)s::text[], %(topic_ids)s::text[], %(partitions)s::integer[], %(offsets)s::bigint[])
    AS w (topic, topic_id, partition, message_offset)
WHERE (d.topic, d.topic_id, d.partition, d.message_offset) = (w.topic, w.topic_id, w.partition, w.message_offset)
RETURNING d.topic
