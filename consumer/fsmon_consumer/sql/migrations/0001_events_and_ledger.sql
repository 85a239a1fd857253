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
    PRIMARY KEY (host_id, session)
);

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
    PRIMARY KEY (topic, partition)
);
COMMENT ON COLUMN offsets.skipped IS 'Messages that Kafka''s retention deleted before they were read.';

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
