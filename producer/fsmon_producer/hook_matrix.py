"""The table of hooks that ``check`` shows: what this kernel lets each of them do, in both ways."""

from collections.abc import Iterator, Mapping

from fsmon_bpf.backends import Backend
from fsmon_bpf.btf import Btf
from fsmon_bpf.hooks import HOOKS, Hook
from fsmon_bpf.layout import Layout

from fsmon_producer.hook_probe import Answer, ask


def answers(backend: Backend, btf: Btf) -> dict[Hook, Answer]:
    """What the kernel says of each of the backend's hooks. Needs root."""
    layout = Layout.of(btf)
    return {hook: ask(hook, backend.way, btf, layout) for hook in backend.hooks}


def unseen(hooks: Mapping[Hook, Answer]) -> dict[Hook, Answer]:
    """The hooks that say nothing, without those whose operations another one sees."""
    seeing = {hook.name for hook, answer in hooks.items() if answer.loads}
    return {
        hook: answer
        for hook, answer in hooks.items()
        if not answer.loads and (answer.there or hook.instead not in seeing)
    }


def summary(hooks: Mapping[Hook, Answer]) -> str:
    """One line: how many hooks there are and where their paths come from; empty without hooks."""
    if not hooks:
        return ""
    listening = [answer for answer in hooks.values() if answer.loads]
    exact = sum(answer.d_path for answer in listening)
    silent = ", ".join(f"{hook.name} {answer}" for hook, answer in unseen(hooks).items())
    return f"{len(listening)} hooks, {exact} with d_path" + (f"; WITHOUT {silent}" if silent else "")


def table(columns: Mapping[str, Mapping[Hook, Answer]]) -> Iterator[str]:
    """A line a hook and a column a backend, under their names."""
    width = max(len(hook.name) for hook in HOOKS)
    cells = [[_cell(hook, hooks) for hooks in columns.values()] for hook in HOOKS]
    widths = [max(map(len, column)) for column in zip([*columns], *cells, strict=True)]
    rows = [["hook", *columns], *([hook.name, *row] for hook, row in zip(HOOKS, cells, strict=True))]
    for row in rows:
        yield "  ".join(text.ljust(size) for text, size in zip(row, (width, *widths), strict=True)).rstrip()


def _cell(hook: Hook, hooks: Mapping[Hook, Answer]) -> str:
    instead = not hooks[hook].there and hook.instead and hook not in unseen(hooks)
    return f"{hooks[hook]}" + (f" ({hook.instead} sees it)" if instead else "")
