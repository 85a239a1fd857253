-- Sessions that a capture report has announced, and how many events of each it knew of.
SELECT host_id, session, emitted
FROM reports
JOIN unnest(%(hosts)s::text[], %(sessions)s::bigint[]) AS w (host_id, session) USING (host_id, session)
