"""What can go wrong: ``strike`` does it, ``mend`` is what an operator or a supervisor then does.

A new fault is a class with these two and a line in ``FAULTS``.
"""

from typing import Protocol

from chaos.scene import Scene


class Fault(Protocol):
    """One per round: it may remember between strike and mend what it did."""

    nodes: int  # of the Kafka it is played on

    def strike(self, scene: Scene) -> None: ...

    def mend(self, scene: Scene) -> None: ...


class KilledConsumer:
    nodes = 1

    def strike(self, scene: Scene) -> None:
        victim = scene.workers.pop(scene.dice.randrange(len(scene.workers)))
        victim.kill()

    def mend(self, scene: Scene) -> None:
        scene.join()


class KilledBroker:
    nodes = 1

    def strike(self, scene: Scene) -> None:
        scene.dice.choice(scene.ground.kafka.nodes).kill()

    def mend(self, scene: Scene) -> None:
        scene.ground.kafka.start()


class KilledBrokerOfThree(KilledBroker):
    nodes = 3


class KilledPostgres:
    nodes = 1

    def strike(self, scene: Scene) -> None:
        scene.ground.postgres.kill()

    def mend(self, scene: Scene) -> None:
        scene.ground.postgres.start()


FAULTS: dict[str, type[Fault]] = {
    "consumer": KilledConsumer,
    "broker": KilledBroker,
    "broker-of-three": KilledBrokerOfThree,
    "postgresql": KilledPostgres,
}
