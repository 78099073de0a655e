"""TOML tables to frozen dataclasses and back, with errors that name file, key, value and the valid choices.

Knows no section of any recipe: a dataclass declares its keys, their types and (through `knob`) their bounds.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
import types
from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
Table = dict[str, Any]


def knob(
    default: Any = dataclasses.MISSING,
    *,
    choices: Iterable[str] | None = None,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
) -> Any:
    """A dataclass field with what it accepts: `choices`, or low <= value <= high, or value > above.

    Without a default the key must be given. The bounds hold for each entry of a tuple.
    """
    meta: dict[str, Any] = {"low": low, "high": high, "above": above}
    meta["choices"] = None if choices is None else tuple(choices)
    return dataclasses.field(default=default, metadata=meta)


def build(cls: type[T], table: object, where: str) -> T:
    """Make the dataclass `cls` from a TOML table.

    where: `file: section`, the start of every message. Raises ValueError for a table that is not one, unknown
    keys, missing keys, wrong types and impossible values.
    """
    if not isinstance(table, Mapping):
        raise ValueError(f"{where} must be a table, got {table!r}")
    assert dataclasses.is_dataclass(cls)
    fields = {item.name: item for item in dataclasses.fields(cls)}
    if unknown := sorted(set(table) - set(fields)):
        raise ValueError(f"{where}.{unknown[0]} is not a known key; valid keys: {', '.join(fields)}")
    hints = get_type_hints(cls)
    values = {}
    for name, item in fields.items():
        if name in table:
            values[name] = _value(hints[name], table[name], item.metadata, f"{where}.{name}")
        elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            raise ValueError(f"{where}.{name} is missing; give it a value ({_type_name(hints[name])})")
    return cls(**values)


def _value(hint: Any, value: Any, meta: Mapping[str, Any], where: str) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        return _value(next(arg for arg in args if arg is not type(None)), value, meta, where)
    if dataclasses.is_dataclass(hint):
        return build(hint, value, where)  # type: ignore[arg-type]
    if origin is tuple:
        return _sequence(args, value, meta, where)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ValueError(f"{where} must be a table, got {value!r}")
        return deepcopy(dict(value))
    return _scalar(hint, value, meta, where)


def _sequence(args: tuple[Any, ...], value: Any, meta: Mapping[str, Any], where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{where} must be a list, got {value!r}")
    if args[-1] is Ellipsis:
        return tuple(_value(args[0], entry, meta, f"{where}[{at}]") for at, entry in enumerate(value))
    if len(value) != len(args):
        raise ValueError(f"{where} must have {len(args)} entries, got {value!r}")
    pairs = zip(args, value, strict=True)
    return tuple(_value(arg, entry, meta, f"{where}[{at}]") for at, (arg, entry) in enumerate(pairs))


def _scalar(hint: Any, value: Any, meta: Mapping[str, Any], where: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ValueError(f"{where} must be {_type_name(hint)}, got {value!r}")
    choices = meta.get("choices")
    if choices is not None and value not in choices:
        raise ValueError(f"{where} is {value!r}; valid choices: {', '.join(choices)}")
    if isinstance(value, int | float) and not isinstance(value, bool):
        _check_bounds(value, meta, where)
    return value


def _check_bounds(value: float, meta: Mapping[str, Any], where: str) -> None:
    low, high, above = meta.get("low"), meta.get("high"), meta.get("above")
    if not math.isfinite(value):
        raise ValueError(f"{where} must be finite, got {value!r}")
    if above is not None and value <= above:
        raise ValueError(f"{where} must be more than {above:g}, got {value!r}")
    if low is not None and value < low:
        raise ValueError(f"{where} must be at least {low:g}, got {value!r}")
    if high is not None and value > high:
        raise ValueError(f"{where} must be at most {high:g}, got {value!r}")


def _type_name(hint: Any) -> str:
    names = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}
    return names.get(hint, "a list" if get_origin(hint) is tuple else "a table")


def apply_overrides(table: Table, overrides: Iterable[str]) -> Table:
    """A copy of a recipe's table with `section.key=value` settings applied.

    A value is read as TOML (`3`, `0.5`, `true`, `["a"]`, `"text"`) and otherwise taken as a string. An entry
    of a list of tables is named by its position or by its `name` (`rewards.map.weight=0.5`). Leading dashes
    are allowed. Raises ValueError naming the override.
    """
    result = deepcopy(table)
    for override in overrides:
        path, equals, text = override.lstrip("-").partition("=")
        keys = path.strip().split(".")
        if not equals or not all(keys):
            raise ValueError(f"override {override!r} must look like section.key=value")
        inner: Any = result
        for key in keys[:-1]:
            inner = _step_into(inner, key, override)
        if not isinstance(inner, dict):
            raise ValueError(f"override {override!r} goes into {inner!r}, which is not a table")
        inner[keys[-1]] = _parse_value(text.strip())
    return result


def _step_into(inner: Any, key: str, override: str) -> Any:
    if isinstance(inner, dict):
        return inner.setdefault(key, {})
    if isinstance(inner, list):
        names = [entry.get("name") if isinstance(entry, dict) else None for entry in inner]
        if key in names:
            return inner[names.index(key)]
        if key.isdigit() and int(key) < len(inner):
            return inner[int(key)]
        raise ValueError(f"override {override!r}: no entry {key!r}; valid choices: {names}")
    raise ValueError(f"override {override!r} goes into {inner!r}, which is not a table")


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word is a string, as on any command line


def to_table(config: Any) -> Table:
    """A dataclass as nested dicts and lists ready for TOML; None is left out (TOML has no null)."""
    return {
        item.name: _plain(getattr(config, item.name))
        for item in dataclasses.fields(config)
        if getattr(config, item.name) is not None
    }


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_table(value)
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return deepcopy(value)


def write_toml(table: Table, prefix: str = "") -> str:
    """TOML text of nested tables, lists of tables and scalars; `tomllib.loads` gives the table back.

    Ours because the standard library only reads TOML, and a recipe needs nothing beyond this subset.
    Raises ValueError for a value TOML cannot hold.
    """
    inline, blocks = [], []
    for key, value in table.items():
        name = f"{prefix}{_key(key)}"
        if isinstance(value, dict):
            blocks.append(f"[{name}]\n{write_toml(value, f'{name}.')}")
        elif isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value):
            blocks += [f"[[{name}]]\n{write_toml(entry, f'{name}.')}" for entry in value]
        else:
            inline.append(f"{_key(key)} = {_literal(value)}\n")
    return "".join(inline) + "".join(f"\n{block}" for block in blocks)


def _key(key: str) -> str:
    plain = key and all(char.isascii() and (char.isalnum() or char in "_-") for char in key)
    return key if plain else _quote(key)


def _quote(text: str) -> str:
    special = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return (
        '"'
        + "".join(special.get(c, c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}") for c in text)
        + '"'
    )


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _quote(value)
    if isinstance(value, list):
        return "[" + ", ".join(_literal(entry) for entry in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)} = {_literal(entry)}" for key, entry in value.items()) + "}"
    raise ValueError(f"TOML cannot hold {value!r}")
