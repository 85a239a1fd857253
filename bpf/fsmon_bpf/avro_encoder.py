"""From ``file_event.avsc`` to C: enum numbers, ``struct file_event`` and ``encode_file_event()``.

Hooks fill the struct by field name, so a field that is gone or of another type does not compile.
Nullable fields carry a bit in ``present``; HAVE(event, field) sets it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fsmon_schemas import FILE_EVENT, Schema

# What user space stamps in front of the kernel's bytes.
STAMPED = ("host_id", "session", "seq")
# What is known only when the operation has ended: the schema has these last.
OUTCOME = ("result", "count", "last_time")


class EncoderError(Exception):
    """The schema uses a type that the kernel's encoder has no code for."""


@dataclass(frozen=True)
class _Field:
    name: str
    kind: str  # long, boolean, enum, text
    nullable: bool


def kernel_fields(schema: Schema = FILE_EVENT) -> Iterator[_Field]:
    """The fields the kernel writes, in order; EncoderError on a type outside of delivery.md's list."""
    declared = schema.declared["fields"]
    if tuple(field["name"] for field in declared[: len(STAMPED)]) != STAMPED:
        raise EncoderError(f"the schema must begin with {', '.join(STAMPED)}: user space stamps them")
    for field in declared[len(STAMPED) :]:
        avro = field["type"]
        nullable = isinstance(avro, list)
        if nullable:
            if len(avro) != 2 or avro[0] != "null":
                raise EncoderError(f"{field['name']}: only ['null', T] unions can be encoded, not {avro}")
            avro = avro[1]
        yield _Field(field["name"], _kind(field["name"], avro, nullable=nullable), nullable)


def _kind(name: str, avro: Any, *, nullable: bool) -> str:
    base = avro["type"] if isinstance(avro, dict) else avro
    if base == "enum" and not nullable:
        return "enum"
    if base in ("long", "boolean"):
        return str(base)
    if base in ("string", "bytes"):
        return "text"
    raise EncoderError(f"{name}: the kernel cannot write {avro}{' or null' if nullable else ''}")


def enums(schema: Schema = FILE_EVENT) -> dict[str, list[str]]:
    """Each enum of the schema with its symbols in order: the C constants' numbers."""
    found = {}
    for field in schema.declared["fields"]:
        if isinstance(field["type"], dict) and field["type"]["type"] == "enum":
            found[field["type"]["name"]] = list(field["type"]["symbols"])
    return found


def generate(schema: Schema = FILE_EVENT) -> str:
    """The C text; it needs avro.h before it."""
    fields = list(kernel_fields(schema))
    nullable = [field.name for field in fields if field.nullable]
    lines = ["/* Generated from file_event.avsc by avro_encoder.py: change the schema, not this. */"]
    for name, symbols in enums(schema).items():
        lines += [
            f"enum {name.lower()} {{",
            *(f"    {name.upper()}_{symbol.upper()}," for symbol in symbols),
            "};",
        ]
        lines.append(f"#define {name.upper()}S {len(symbols)}")
    lines += [f"#define HAS_{name} (1ULL << {bit})" for bit, name in enumerate(nullable)]
    lines += ["struct file_event {", "    u64 present;"]
    lines += [f"    {_C_TYPE[field.kind]} {field.name};" for field in fields]
    lines.append("};")
    if tuple(field.name for field in fields[-len(OUTCOME) :]) != OUTCOME:
        raise EncoderError(
            f"the schema must end with {', '.join(OUTCOME)}: they are written when a call ends"
        )
    lines += _encoder("encode_operation", fields[: -len(OUTCOME)])
    lines += _encoder("encode_outcome", fields[-len(OUTCOME) :])
    return "\n".join([*lines, ""])


def _encoder(name: str, fields: list[_Field]) -> Iterator[str]:
    yield f"static __always_inline void {name}(struct record *out, struct file_event *event) {{"
    for field in fields:
        value = f"&event->{field.name}" if field.kind == "text" else f"event->{field.name}"
        put = f"put_{field.kind}(out, {value});"
        if field.nullable:
            some = (
                f"put_nullable_text(out, {value});" if field.kind == "text" else f"put_branch(out, 1); {put}"
            )
            yield f"    if (event->present & HAS_{field.name}) {{ {some} }}"
            yield "    else put_branch(out, 0);"
        else:
            yield f"    {put}"
    yield "}"


_C_TYPE = {"long": "s64", "boolean": "u32", "enum": "u32", "text": "struct text"}
