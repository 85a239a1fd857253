"""Where in Kafka: the name of a partition, shared by everything that handles one."""

Place = tuple[str, int]  # topic, partition
