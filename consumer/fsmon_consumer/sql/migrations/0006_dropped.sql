-- What a producer's full spool gave up, as its reports declare it.

ALTER TABLE reports ADD COLUMN dropped int8multirange NOT NULL DEFAULT '{}';
COMMENT ON COLUMN reports.dropped IS 'Seqs that will not arrive, but for those that were under way.';
