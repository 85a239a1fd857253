-- What a role may do at most. Login roles are members: GRANT fsmon_writer TO some_login.
-- fsmon_writer: `fsmon-consumer run`. It adds events and keeps the ledger; it can neither change nor remove an event.
-- fsmon_reader: queries, `audit`, `partitions list`.
-- Who migrates owns everything, and alone retires partitions and edits dead letters.

DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['fsmon_writer', 'fsmon_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            EXCEPTION
                WHEN duplicate_object OR unique_violation THEN
                    NULL; -- roles belong to the whole server, and another of its databases is migrated at this moment
                WHEN insufficient_privilege THEN
                    RAISE insufficient_privilege USING MESSAGE = 'there are no roles fsmon_writer and fsmon_reader, '
                        'and this one may not create roles: let an administrator run CREATE ROLE fsmon_writer; '
                        'CREATE ROLE fsmon_reader';
            END;
        END IF;
    END LOOP;
END
$$;

-- A partition is made with its owner's rights: whoever could attach one to file_events could also detach one.
DO $$
BEGIN
    EXECUTE format($function$
        CREATE FUNCTION add_partition(moment timestamptz) RETURNS void
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = %1$I, pg_temp AS
        $body$
        DECLARE
            hour timestamptz := date_trunc('hour', moment, 'UTC');
            name text := 'file_events_' || to_char(hour AT TIME ZONE 'UTC', 'YYYYMMDDHH24');
        BEGIN
            EXECUTE format('CREATE TABLE %%I (LIKE file_events INCLUDING ALL)', name);
            EXECUTE format(
                'ALTER TABLE file_events ATTACH PARTITION %%I FOR VALUES FROM (%%L) TO (%%L)',
                name, hour, hour + interval '1 hour'
            );
        END
        $body$
    $function$, current_schema());
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO fsmon_writer, fsmon_reader', current_schema());
END
$$;
COMMENT ON FUNCTION add_partition IS 'Makes the partition of the UTC hour that holds the moment, and attaches it.';
REVOKE EXECUTE ON FUNCTION add_partition FROM PUBLIC;
GRANT EXECUTE ON FUNCTION add_partition TO fsmon_writer;

GRANT SELECT ON migrations TO fsmon_writer;
GRANT SELECT, UPDATE ON installation TO fsmon_writer;
GRANT SELECT, INSERT, UPDATE ON streams, reports, offsets TO fsmon_writer;
GRANT SELECT, INSERT ON dead_letters TO fsmon_writer;
GRANT INSERT ON file_events TO fsmon_writer;
GRANT SELECT ON
    migrations, installation, file_events, streams, reports, offsets, dead_letters, ecs_file_events, ocsf_file_activity
TO fsmon_reader;
