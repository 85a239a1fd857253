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
