SELECT topic, partition, next_offset, skipped
FROM offsets
ORDER BY topic, partition
