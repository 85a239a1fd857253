UPDATE offsets
SET topic_id = %(topic_id)s, next_offset = %(next_offset)s, skipped = skipped + %(skipped)s
WHERE topic = %(topic)s AND partition = %(partition)s
