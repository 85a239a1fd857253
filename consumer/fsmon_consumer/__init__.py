"""Batches the event topic into PostgreSQL, each event once, and proves that none is missing."""
