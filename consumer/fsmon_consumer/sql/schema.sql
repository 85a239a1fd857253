CREATE TABLE IF NOT EXISTS migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- Events, the ledger that proves their number, and what stands between: offsets, reports, dead letters.

-- This database's identity. One database belongs to one consumer group of one cluster.
CREATE TABLE installation (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    database_id uuid NOT NULL DEFAULT gen_random_uuid(),
    group_id text,
    cluster_id text
);
INSERT INTO installation DEFAULT VALUES;

-- Columns are those of file_event.avsc, in its order (a test holds the two together).
-- No unique key on (host_id, session, seq): `streams` keeps identities unique, at a hundredth of the cost.
CREATE TABLE file_events (
    host_id text NOT NULL,
    session bigint NOT NULL,
    seq bigint NOT NULL,
    time timestamptz NOT NULL,
    boot_time bigint NOT NULL,
    op text NOT NULL,
    path text,
    path_raw bytea,
    target_path text,
    target_path_raw bytea,
    pid bigint NOT NULL,
    tid bigint NOT NULL,
    ppid bigint NOT NULL,
    process_start bigint NOT NULL,
    uid bigint NOT NULL,
    gid bigint NOT NULL,
    euid bigint NOT NULL,
    loginuid bigint,
    comm text NOT NULL,
    exe text,
    inode bigint NOT NULL,
    device bigint NOT NULL,
    file_type text NOT NULL,
    mode bigint NOT NULL,
    open_flags bigint,
    new_mode bigint,
    new_uid bigint,
    new_gid bigint,
    "offset" bigint,
    length bigint,
    prot bigint,
    xattr_name text,
    cgroup_id bigint NOT NULL,
    mount_ns bigint NOT NULL,
    container_id text,
    hook text NOT NULL,
    syscall bigint,
    path_source text NOT NULL,
    path_truncated boolean NOT NULL,
    deleted boolean NOT NULL,
    result bigint,
    count bigint NOT NULL,
    last_time timestamptz,
    stored_at timestamptz NOT NULL DEFAULT clock_timestamp()
) PARTITION BY RANGE (time);
COMMENT ON COLUMN file_events.stored_at IS 'When the row was written, just before its transaction committed.';

CREATE INDEX file_events_time ON file_events USING brin (time);
CREATE INDEX file_events_host_time ON file_events (host_id, time);
CREATE INDEX file_events_path ON file_events USING hash (path);

-- What of each session has been settled. `seen` holds every seq that was stored, dead-lettered or expired.
CREATE TABLE streams (
    host_id text NOT NULL,
    session bigint NOT NULL,
    partition integer NOT NULL,
    seen int8multirange NOT NULL DEFAULT '{}',
    stored bigint NOT NULL DEFAULT 0,
    duplicates bigint NOT NULL DEFAULT 0,
    dead bigint NOT NULL DEFAULT 0,
    expired bigint NOT NULL DEFAULT 0,
    last_event_time timestamptz,
    first_stored_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (host_id, session)
);

-- The newest CaptureReport of each session (reports are cumulative).
CREATE TABLE reports (
    host_id text NOT NULL,
    session bigint NOT NULL,
    time timestamptz NOT NULL,
    boot_time bigint NOT NULL,
    session_start timestamptz NOT NULL,
    boot_id text NOT NULL,
    hostname text NOT NULL,
    kernel text NOT NULL,
    version text NOT NULL,
    backend text NOT NULL,
    state text NOT NULL,
    end_reason text,
    emitted bigint NOT NULL,
    next_seq bigint NOT NULL,
    acked_seq bigint NOT NULL,
    backlog bigint NOT NULL,
    acked_partition bigint,
    acked_offset bigint,
    operations jsonb NOT NULL,
    lost jsonb NOT NULL,
    uncovered jsonb NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    dropped int8multirange NOT NULL DEFAULT '{}',
    placed_seq bigint NOT NULL DEFAULT 0,
    arrival bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    first_boot_time bigint,
    beside bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (host_id, session)
);
COMMENT ON COLUMN reports.dropped IS 'Seqs that will not arrive, but for those that were under way.';
COMMENT ON COLUMN reports.placed_seq IS 'Every seq below it lies up to acked_offset: the acked_seq that came with that.';
COMMENT ON COLUMN reports.arrival IS 'Orders the sessions of different boots: by when each was first reported.';
COMMENT ON COLUMN reports.first_boot_time IS 'Orders the sessions of one boot: boot_time of the first report.';
COMMENT ON COLUMN reports.beside IS 'How often another boot reported between two of these: once its last may have waited in a spool.';

-- Where each partition goes on, and who owns it: `epoch` fences off every earlier owner.
-- messages = stored + duplicates + dead + expired (reports count as stored).
CREATE TABLE offsets (
    topic text NOT NULL,
    partition integer NOT NULL,
    topic_id text NOT NULL,
    epoch bigint NOT NULL,
    next_offset bigint NOT NULL,
    leader_epoch integer,
    skipped bigint NOT NULL DEFAULT 0,
    messages bigint NOT NULL DEFAULT 0,
    stored bigint NOT NULL DEFAULT 0,
    duplicates bigint NOT NULL DEFAULT 0,
    dead bigint NOT NULL DEFAULT 0,
    expired bigint NOT NULL DEFAULT 0,
    worker text NOT NULL,
    backend_pid integer NOT NULL,
    backend_start timestamptz NOT NULL,
    claimed_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    paused text,
    PRIMARY KEY (topic, partition)
);
COMMENT ON COLUMN offsets.skipped IS 'Messages that Kafka''s retention deleted before they were read.';
COMMENT ON COLUMN offsets.paused IS 'Why nothing more of this partition is read; the others go on.';

-- Messages that could not be stored. host_id, session and seq only where the message is known to be that event.
CREATE TABLE dead_letters (
    topic text NOT NULL,
    topic_id text NOT NULL,
    partition integer NOT NULL,
    message_offset bigint NOT NULL,
    key bytea,
    value bytea,
    schema_ref text,
    reason text NOT NULL,
    detail text NOT NULL,
    host_id text,
    session bigint,
    seq bigint,
    stored_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (topic, topic_id, partition, message_offset)
);
CREATE INDEX dead_letters_stored_at ON dead_letters (stored_at);
-- The same events under the names of the Elastic Common Schema (ECS 9) and of OCSF 1.x class 1001.

CREATE VIEW ecs_file_events AS
SELECT
    time AS "@timestamp",
    stored_at AS "event.ingested",
    host_id || '/' || session || '/' || seq AS "event.id",
    seq AS "event.sequence",
    'file' AS "event.category",
    op AS "event.action",
    CASE op
        WHEN 'create' THEN 'creation' WHEN 'mkdir' THEN 'creation' WHEN 'mknod' THEN 'creation'
        WHEN 'link' THEN 'creation' WHEN 'symlink' THEN 'creation'
        WHEN 'unlink' THEN 'deletion' WHEN 'rmdir' THEN 'deletion'
        WHEN 'open' THEN 'access' WHEN 'read' THEN 'access' WHEN 'readdir' THEN 'access'
        WHEN 'exec' THEN 'start'
        ELSE 'change'
    END AS "event.type",
    CASE WHEN result IS NULL THEN 'unknown' WHEN result < 0 THEN 'failure' ELSE 'success' END AS "event.outcome",
    host_id AS "host.id",
    container_id AS "container.id",
    path AS "file.path",
    target_path AS "file.target_path",
    inode AS "file.inode",
    device AS "file.device",
    CASE file_type WHEN 'directory' THEN 'dir' WHEN 'regular' THEN 'file' ELSE file_type END AS "file.type",
    lpad((mode / 512 * 1000 + mode / 64 % 8 * 100 + mode / 8 % 8 * 10 + mode % 8)::text, 4, '0') AS "file.mode",
    pid AS "process.pid",
    tid AS "process.thread.id",
    ppid AS "process.parent.pid",
    comm AS "process.name",
    exe AS "process.executable",
    uid AS "user.id",
    euid AS "user.effective.id",
    loginuid AS "user.audit.id",
    gid AS "group.id"
FROM file_events;

-- activity_id: 1 Create 2 Read 3 Update 4 Delete 5 Rename 6 SetAttributes 7 SetSecurity 12 Mount 13 Unmount
-- 14 Open 99 Other; file.type_id: 1 file 2 folder 3 char 4 block 5 socket 6 pipe 7 symlink.
CREATE VIEW ocsf_file_activity AS
SELECT
    1 AS category_uid,
    1001 AS class_uid,
    activity_id,
    100100 + activity_id AS type_uid,
    1 AS severity_id,
    CASE WHEN result IS NULL THEN 0 WHEN result < 0 THEN 2 ELSE 1 END AS status_id,
    CASE WHEN result < 0 THEN -result END AS status_code,
    (extract(epoch FROM time) * 1000)::bigint AS time,
    (extract(epoch FROM last_time) * 1000)::bigint AS end_time,
    count,
    op AS activity_name,
    'fsmon' AS "metadata.product.name",
    host_id || '/' || session || '/' || seq AS "metadata.uid",
    seq AS "metadata.sequence",
    path_truncated AS "metadata.is_truncated",
    host_id AS "device.uid",
    path AS "file.path",
    target_path AS "file_result.path",
    CASE file_type
        WHEN 'regular' THEN 1 WHEN 'directory' THEN 2 WHEN 'char' THEN 3 WHEN 'block' THEN 4
        WHEN 'socket' THEN 5 WHEN 'fifo' THEN 6 WHEN 'symlink' THEN 7 ELSE 0
    END AS "file.type_id",
    pid AS "actor.process.pid",
    tid AS "actor.process.tid",
    ppid AS "actor.process.parent_process.pid",
    comm AS "actor.process.name",
    exe AS "actor.process.file.path",
    uid AS "actor.user.uid",
    container_id AS "actor.process.container.uid"
FROM (
    SELECT
        *,
        CASE op
            WHEN 'create' THEN 1 WHEN 'mkdir' THEN 1 WHEN 'mknod' THEN 1 WHEN 'link' THEN 1 WHEN 'symlink' THEN 1
            WHEN 'read' THEN 2 WHEN 'readdir' THEN 2
            WHEN 'write' THEN 3 WHEN 'truncate' THEN 3 WHEN 'fallocate' THEN 3 WHEN 'clone' THEN 3
            WHEN 'unlink' THEN 4 WHEN 'rmdir' THEN 4
            WHEN 'rename' THEN 5 WHEN 'exchange' THEN 5
            WHEN 'utimens' THEN 6 WHEN 'setxattr' THEN 6 WHEN 'removexattr' THEN 6 WHEN 'setflags' THEN 6
            WHEN 'chmod' THEN 7 WHEN 'chown' THEN 7
            WHEN 'mount' THEN 12 WHEN 'move_mount' THEN 12
            WHEN 'unmount' THEN 13
            WHEN 'open' THEN 14
            ELSE 99
        END AS activity_id
    FROM file_events
) AS events;
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
