-- Take dead letters out of the table and out of every account, as if their messages had not been read yet.
WITH gone AS (
    DELETE FROM dead_letters AS d
    USING unnest(%(topics)s::text[], %(topic_ids)s::text[], %(partitions)s::integer[], %(offsets)s::bigint[])
        AS w (topic, topic_id, partition, message_offset)
    WHERE (d.topic, d.topic_id, d.partition, d.message_offset) = (w.topic, w.topic_id, w.partition, w.message_offset)
    RETURNING d.topic, d.partition, d.message_offset, d.host_id, d.session, d.seq
),
sessions AS (
    UPDATE streams AS s
    SET dead = s.dead - g.letters, seen = s.seen - g.seqs
    FROM (
        SELECT host_id, session, count(*) AS letters, range_agg(int8range(seq, seq + 1)) AS seqs
        FROM gone
        WHERE seq IS NOT NULL
        GROUP BY host_id, session
    ) AS g
    WHERE s.host_id = g.host_id AND s.session = g.session
),
counted AS (
    UPDATE offsets AS o
    SET dead = o.dead - g.letters, messages = o.messages - g.letters
    FROM (SELECT topic, partition, count(*) AS letters FROM gone GROUP BY topic, partition) AS g
    WHERE o.topic = g.topic AND o.partition = g.partition
)
SELECT topic, partition, message_offset FROM gone
