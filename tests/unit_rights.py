"""What the producer's systemd unit leaves it of root's rights, for programs that no systemd starts."""

import re
import sys
from pathlib import Path

UNIT = Path(__file__).parents[1] / "producer/fsmon-producer.service"
# prctl(2): PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN: what MemoryDenyWriteExecute= does, kept over exec.
_REFUSING = (
    "import ctypes, os, sys; assert ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) == 0; "
    "os.execv(sys.argv[1], sys.argv[1:])"
)


def with_the_units_rights() -> list[str]:
    """The first words of a command."""
    kept = re.search(r"^CapabilityBoundingSet=(.*)$", UNIT.read_text(), re.MULTILINE)
    assert kept is not None
    bounds = ",".join(["-all", *("+" + name.removeprefix("CAP_").lower() for name in kept[1].split())])
    rights = ["setpriv", f"--bounding-set={bounds}", "--inh-caps=-all", "--no-new-privs"]
    return [*rights, sys.executable, "-c", _REFUSING]
