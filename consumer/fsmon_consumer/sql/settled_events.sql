SELECT settled_events(
    %(numbers)s::integer[], %(hosts)s::text[], %(sessions)s::bigint[], %(seqs)s::bigint[],
    %(times)s::timestamptz[], %(boot_times)s::bigint[]
)
