-- Lock sessions, always in this order; `seen` only as far as the batch at hand can touch it.
SELECT
    s.host_id, s.session,
    (s.seen * int8multirange(int8range(w.first, w.stop)))::text,
    coalesce(upper(s.seen), 0)
FROM streams AS s
JOIN unnest(%(hosts)s::text[], %(sessions)s::bigint[], %(firsts)s::bigint[], %(stops)s::bigint[])
    AS w (host_id, session, first, stop) USING (host_id, session)
ORDER BY s.host_id, s.session
FOR UPDATE OF s
