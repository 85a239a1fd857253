"""Which partition a session belongs to."""


def partition_of(key: bytes, partitions: int) -> int:
    """Kafka's default partitioner: toPositive(murmur2(key)) mod partitions (clients, Utils.java)."""
    mask, mix = 0xFFFFFFFF, 0x5BD1E995
    digest = 0x9747B28C ^ len(key)
    whole = len(key) & ~3
    for start in range(0, whole, 4):
        word = int.from_bytes(key[start : start + 4], "little") * mix & mask
        word = (word ^ word >> 24) * mix & mask
        digest = (digest * mix & mask) ^ word
    if whole < len(key):
        digest = (digest ^ int.from_bytes(key[whole:], "little")) * mix & mask
    digest = (digest ^ digest >> 13) * mix & mask
    return ((digest ^ digest >> 15) & 0x7FFFFFFF) % partitions
