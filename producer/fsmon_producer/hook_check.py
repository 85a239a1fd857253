"""What ``check`` says of backends and hooks, the real programs loaded and let go."""

from fsmon_bpf.backends import BACKENDS
from fsmon_bpf.btf import Btf
from fsmon_schemas.errors import FatalError

from fsmon_producer import hook_matrix, loader, preflight


def report(asked: str = "auto") -> tuple[list[str], bool]:
    """Lines for people, and whether all that ``--backend`` ``asked`` would attach loads.

    Needs root and BCC. FatalError where this kernel has no such backend.
    """
    btf = Btf.of_kernel()
    taken = preflight.choose_backend(asked, btf)
    hooked = [backend for backend in BACKENDS.values() if backend.hooks]
    columns = {backend.name: hook_matrix.answers(backend, btf) for backend in hooked}
    faults = []
    try:
        loaded = loader.try_out(taken.name)
    except FatalError as error:
        faults.append(f"programs: {error}")
    else:
        faults += [
            f"hook {hook.name}: {answer}; no {', '.join(hook.ops)} is captured"
            for hook, answer in hook_matrix.unseen(loaded).items()
        ]
        if loaded:  # what the real programs met outweighs what was asked before
            columns[taken.name] = loaded
    lines = [f"backend {asked} takes: {taken.name} ({preflight.why(asked, taken, btf)})"]
    lines += [
        f"{backend.name} captures nothing here: {obstacle}"
        for backend in hooked
        if (obstacle := preflight.obstacle(backend, btf))
    ]
    lines += hook_matrix.table(columns)
    lines += [f"FAIL  {fault}" for fault in faults]
    return lines, not faults
