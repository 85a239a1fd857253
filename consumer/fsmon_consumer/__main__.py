"""``python -m fsmon_consumer`` is ``fsmon-consumer``."""

from fsmon_consumer.cli import main

main()
