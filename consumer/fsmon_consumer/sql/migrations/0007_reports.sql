-- What of a session's reports outlasts the newest.

ALTER TABLE reports ADD COLUMN placed_seq bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN reports.placed_seq IS 'Every seq below it lies up to acked_offset: the acked_seq that came with that.';
UPDATE reports SET placed_seq = acked_seq WHERE acked_offset IS NOT NULL;
