UPDATE installation
SET group_id = coalesce(group_id, %(group_id)s), cluster_id = coalesce(cluster_id, %(cluster_id)s)
RETURNING group_id, cluster_id
