"""``python -m vm.record``: writes tests/kernel/verified.json anew, from this kernel and from each guest's."""

import io
import json
import os
import subprocess
import sys

from kernel.verifier import RECORD
from local.places import ROOT

from vm import suite
from vm.kernel import METAPACKAGES, kernel
from vm.machine import Machine

COMMAND = [sys.executable, "-m", "kernel.verifier"]
TIMEOUT_SECONDS = 900  # three backends, each compiled


def main() -> int:
    found = json.loads(subprocess.run(COMMAND, stdout=subprocess.PIPE, check=True).stdout)
    for series in METAPACKAGES:
        machine = Machine(kernel(series), suite.STATE / f"record-{series}-{os.getpid()}", directory=ROOT)
        out = io.BytesIO()
        status = machine.run(COMMAND, out=out, err=sys.stderr.buffer, seconds=TIMEOUT_SECONDS)
        if status != 0:
            print(f"record: Linux {series}: status {status}, see {machine.state}", file=sys.stderr)
            return 1
        found |= json.loads(out.getvalue())
    RECORD.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
