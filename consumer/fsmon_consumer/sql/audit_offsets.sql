SELECT topic, partition, next_offset, skipped, paused
FROM offsets
ORDER BY topic, partition
