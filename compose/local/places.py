"""Where the local services keep things, all of it below the repository's own ``.local``."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCAL = ROOT / ".local"
CACHE = LOCAL / "cache"  # downloads: survive `make clean`, removed by `make distclean`
SERVICES = LOCAL / "services"  # what `python -m local up` runs
TESTS = LOCAL / "tests"  # one directory for each running pytest, named by its pid
