"""The kernel side: eBPF sources, the generated Avro encoder, and how they become one program text."""
