UPDATE offsets
SET
    leader_epoch = CASE WHEN topic_id = %(topic_id)s THEN leader_epoch END,
    topic_id = %(topic_id)s,
    next_offset = %(next_offset)s,
    skipped = skipped + %(skipped)s
WHERE topic = %(topic)s AND partition = %(partition)s
