INSERT INTO dead_letters (
    topic, topic_id, partition, message_offset, key, value, schema_ref, reason, detail, host_id, session, seq
)
SELECT *
FROM unnest(
    %(topics)s::text[], %(topic_ids)s::text[], %(partitions)s::integer[], %(offsets)s::bigint[], %(keys)s::bytea[],
    %(values)s::bytea[], %(schemas)s::text[], %(reasons)s::text[], %(details)s::text[], %(hosts)s::text[],
    %(sessions)s::bigint[], %(seqs)s::bigint[]
)
ON CONFLICT DO NOTHING
RETURNING topic, partition, message_offset
