"""Kafka, a schema registry and PostgreSQL as plain local processes, for people without Docker.

Everything listens on 127.0.0.1 and keeps its state under one directory. Tests and the demo use
the same classes as ``python -m local up``.
"""
