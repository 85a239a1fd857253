-- Whether events are stored as they are: for workers, which cannot read events and need no more than yes or no.

DO $$
BEGIN
    EXECUTE format($function$
        CREATE FUNCTION settled_events(
            numbers integer[], hosts text[], sessions bigint[], seqs bigint[], times timestamptz[], boot_times bigint[]
        ) RETURNS SETOF integer
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = %1$I, pg_temp AS
        $body$
            SELECT w.number
            FROM unnest(numbers, hosts, sessions, seqs, times, boot_times)
                AS w (number, host_id, session, seq, time, boot_time)
            JOIN file_events AS e USING (host_id, session, seq, time, boot_time)
            WHERE e.time BETWEEN (SELECT min(t) FROM unnest(times) AS t) AND (SELECT max(t) FROM unnest(times) AS t)
            UNION
            SELECT w.number
            FROM unnest(numbers, hosts, sessions, seqs) AS w (number, host_id, session, seq)
            JOIN dead_letters USING (host_id, session, seq)
        $body$
    $function$, current_schema());
END
$$;
COMMENT ON FUNCTION settled_events IS 'The numbers of those events that are stored just so, or lie in dead_letters.';
REVOKE EXECUTE ON FUNCTION settled_events FROM PUBLIC;
GRANT EXECUTE ON FUNCTION settled_events TO fsmon_writer;
