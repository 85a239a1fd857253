"""The table of system calls as the programs read it: the 64-bit ones, then the 32-bit ones.

A 32-bit call does what a 64-bit one does, under another number. What differs is said here: offsets and sizes
come in two halves, the oldest calls know 16-bit owners, and socketcall (102) has bind's arguments in memory.
Source of the numbers: arch/x86/entry/syscalls/syscall_32.tbl (Linux 6.18).
"""

from dataclasses import replace

from fsmon_bpf.syscalls import CALLS, NO_ARGUMENT, Call, Kind, Uncovered

COMPAT_ROWS = 512  # where the 32-bit calls begin
TABLE_SIZE = 2 * COMPAT_ROWS

# 32-bit number: the 64-bit one of the same call
_SAME = {
    3: 0, 4: 1, 5: 2, 8: 85, 9: 86, 10: 87, 11: 59, 14: 133, 15: 90, 16: 94, 21: 165, 22: 166, 30: 132,
    38: 82, 39: 83, 40: 84, 51: 163, 52: 166, 54: 16, 61: 161, 83: 88, 87: 167, 89: 78, 92: 76, 93: 77,
    94: 91, 95: 93, 102: 49, 115: 168, 125: 10, 131: 179, 141: 78, 145: 19, 146: 20, 180: 17, 181: 18,
    182: 92, 187: 40, 192: 9, 193: 76, 194: 77, 198: 94, 207: 93, 212: 92, 217: 155, 220: 217, 226: 188,
    227: 189, 228: 190, 235: 197, 236: 198, 237: 199, 239: 40, 248: 209, 271: 235, 295: 257, 296: 258,
    297: 259, 298: 260, 299: 261, 301: 263, 302: 264, 303: 265, 304: 266, 306: 268, 313: 275, 320: 280,
    324: 285, 333: 295, 334: 296, 342: 304, 350: 313, 353: 316, 358: 322, 361: 49, 377: 326, 378: 327,
    379: 328, 380: 329, 412: 280, 426: 426, 429: 429, 432: 432, 437: 437, 442: 442, 443: 443, 452: 452,
    463: 463, 466: 466, 467: 467, 469: 469,
}  # fmt: skip
_HALVED_OFFSET = (180, 181, 192, 333, 334, 378, 379)  # mmap2 counts in pages
_HALVED_LENGTH = (193, 194)
_NO_LENGTH = (89,)  # the oldest readdir reads one entry, whatever it is given
_SHORT_OWNER = (16, 95, 182)


def _adapted(number: int, call: Call) -> Call:
    if number in _HALVED_OFFSET:
        return replace(call, offset=NO_ARGUMENT)
    if number in (*_HALVED_LENGTH, *_NO_LENGTH):
        return replace(call, length=NO_ARGUMENT)
    if number in _SHORT_OWNER:
        return replace(call, owner=NO_ARGUMENT)
    return replace(call, offset=NO_ARGUMENT, length=NO_ARGUMENT) if number == 324 else call  # fallocate


# By index: the number of the 64-bit call that does the same, and the row.
ROWS: dict[int, tuple[int, Call]] = {
    **{number: (number, call) for number, call in CALLS.items()},
    **{COMPAT_ROWS + number: (same, _adapted(number, CALLS[same])) for number, same in _SAME.items()},
    COMPAT_ROWS + 86: (134, Call(Kind.UNCOVERED, variant=Uncovered.COMPAT)),  # uselib
    # The oldest mmap has its arguments in memory.
    COMPAT_ROWS + 90: (9, Call(Kind.UNCOVERED, variant=Uncovered.COMPAT)),
}
