-- What of a session's reports outlasts the newest.

ALTER TABLE reports ADD COLUMN placed_seq bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN reports.placed_seq IS 'Every seq below it lies up to acked_offset: the acked_seq that came with that.';
UPDATE reports SET placed_seq = acked_seq WHERE acked_offset IS NOT NULL;

-- In which order a host's sessions began, by no clock that can be set.
ALTER TABLE reports
    ADD COLUMN arrival bigint,
    ADD COLUMN first_boot_time bigint,
    ADD COLUMN beside bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN reports.arrival IS 'Orders the sessions of different boots: by when each was first reported.';
COMMENT ON COLUMN reports.first_boot_time IS 'Orders the sessions of one boot: boot_time of the first report.';
COMMENT ON COLUMN reports.beside IS 'How often another boot reported between two of these: once its last may have waited in a spool.';
UPDATE reports AS r
SET
    arrival = o.arrival,
    first_boot_time = greatest(least(boot_time - extract(epoch FROM time - session_start) * 1e9, boot_time), 0)::bigint
FROM (SELECT host_id, session, row_number() OVER (ORDER BY stored_at, session) AS arrival FROM reports) AS o
WHERE (r.host_id, r.session) = (o.host_id, o.session);
ALTER TABLE reports ALTER COLUMN arrival SET NOT NULL;
ALTER TABLE reports ALTER COLUMN arrival ADD GENERATED ALWAYS AS IDENTITY;
SELECT setval(pg_get_serial_sequence('reports', 'arrival'), (SELECT count(*) + 1 FROM reports), false);
