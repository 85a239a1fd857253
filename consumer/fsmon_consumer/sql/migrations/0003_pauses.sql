-- Partitions that wait for a person, and why.

ALTER TABLE offsets ADD COLUMN paused text;
COMMENT ON COLUMN offsets.paused IS 'Why nothing more of this partition is read; the others go on.';
