"""The host's agent: takes events out of the kernel and hands them to Kafka, losing none silently."""
