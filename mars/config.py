"""Settings dataclasses from plain mappings, with strict checks.

Each module with settings owns a dataclass; this is the one place that fills them. An unknown key, a missing key and a
value of the wrong type are errors that name the key and the nearest known one: a misspelt `tua` must never train
silently with the default τ.

    build(PoolConfig, {"width": 3}, "pool")
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
import types
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

T = TypeVar("T")

# Top-level settings that say where things go or how loudly; `threads` may change the last bits of a fine-tune on a CPU.
WITHOUT_EFFECT = frozenset(
    {"study", "out", "cache", "logger", "wandb", "threads", "save_model", "force", "retry", "debug", "name", "dry_run"}
    | {"steps_may_differ", "focus", "scale", "curvature"}
    | {"deterministic"}  # may change the last bits of a fine-tune on a GPU
    | {"until", "max_replicates", "look_every"}
    | {"checkpoint_minutes", "workers"}
    | {"replicate"}  # which moves the seeds that stand beside it (`mars.choices.effective`)
)

# Settings younger than some runs, {group: {setting: {value: as it names a run}}}; None: as a run without the setting. A
# setting that is a group has its own settings in the place of values.
_AS_BEFORE: dict[str, dict[str, dict[Any, Any]]] = {
    "train": {
        "token_budget": {"auto": 4096},
        "bf16_weights": {False: None},
        "margin": {"none": None},
        "margin_scale": {1.0: None},
        "packing": {"auto": None},
        "shard": {"none": None, "fsdp": None},  # where the parts of a model are changes no result
    },
    "rounds": {"keep": {"last": None}},
    "benchmark": {
        "schema": {None: None},
        "columns": {name: {None: None} for name in ("prompt", "chosen", "rejected", "subset", "id")},
        "ranked": {"best_worst": None},
        "on": {"unlabelled": {"raise": None}, "tie": {"raise": None}},
    },
}
_AS_WITHOUT = frozenset({"downstream"})  # young settings too; where they ask for nothing, they name no run


class UserError(Exception):
    """A mistake the user can mend; its message is one line: what is wrong, where, and what to do."""


class ConfigError(UserError):
    """A setting that cannot be used; the message names the config key."""


def naming_runs(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` as it names a run: a new setting at its default makes no other run of what was there before it."""
    named = {key: value for key, value in config.items() if key not in _AS_WITHOUT or value}
    for group, settings in _AS_BEFORE.items():
        if isinstance(config.get(group), Mapping):
            named[group] = _as_before(settings, config[group])
    if isinstance(named.get("downstream"), Mapping):
        judged = {label: _before(_AS_BEFORE["benchmark"], of) for label, of in named["downstream"].items()}
        named["downstream"] = judged
    return named


def _as_before(settings: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    old = {key: _before(settings[key], value) if key in settings else value for key, value in values.items()}
    return {key: value for key, value in old.items() if key not in settings or value is not None}


def _before(known: Mapping[Any, Any], value: Any) -> Any:
    if isinstance(value, Mapping):
        return _as_before(known, value) or None
    return next((old for new, old in known.items() if value == new and type(value) is type(new)), value)


@contextmanager
def renamed(old: str, new: str) -> Iterator[None]:
    """Inside, a UserError about the group `old` names `new` instead: a group may be used in several places."""
    try:
        yield
    except UserError as error:
        raise type(error)(re.sub(rf"\b(?<!\.){re.escape(old)}\.", f"{new}.", str(error))) from error


def nearest(word: str, known: typing.Iterable[str]) -> str:
    """The end of a message: ` (did you mean "tau"?)`, or all `known` names where none is near; "" without any."""
    names = list(known)
    match = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if match:
        return f' (did you mean "{match[0]}"?)'
    return f" (known: {', '.join(names)})" if names else ""


def choose(table: Mapping[str, T], name: str, key: str) -> T:
    """`table[name]`. Raises ConfigError with the config key `key` and the nearest name, where there is no such name."""
    if name not in table:
        raise ConfigError(f'{key}: "{name}" is unknown{nearest(str(name), table)}')
    return table[name]


def build(cls: type[T], values: Mapping[str, Any], path: str) -> T:
    """A `cls`, which is a dataclass, from `values`. Raises ConfigError with the key of whatever cannot be used.

    path: the config key of `values`, for messages; "" at the top.
    """
    hints = _hints(typing.cast(Any, cls))
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            raise ConfigError(f"{_join(path, str(key))}: no such setting{nearest(str(key), fields)}")
    kwargs = {}
    for name, f in fields.items():
        if name in values:
            kwargs[name] = _convert(hints[name], values[name], _join(path, name))
        elif f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{_join(path, name)}: is required")

    try:
        return cls(**kwargs)
    except ValueError as error:  # raised by __post_init__, which knows the field and not the group
        raise ConfigError(f"{_join(path, str(error))}") from None


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    """The types of a dataclass's fields; to look them up takes longer than to build one."""
    return typing.get_type_hints(cls)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _convert(hint: Any, value: Any, path: str) -> Any:
    """`value` as the annotated type; only int becomes float. Raises ConfigError for a value of another type."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        errors = []
        for arm in (a for a in args if a is not type(None)):
            try:
                return _convert(arm, value, path)
            except ConfigError as error:
                errors.append(error)
        raise errors[0] if len(errors) == 1 else ConfigError(f"{path}: {value!r} is not one of {hint}")
    if origin is Literal:
        if value in args and type(value) in {type(a) for a in args}:
            return value
        raise ConfigError(f"{path}: {value!r} is not a choice{nearest(str(value), map(str, args))}")
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{path}: a group of settings is expected, not {value!r}")
        return build(typing.cast(type, hint), value, path)
    if origin in (tuple, list):
        if isinstance(value, str) or not isinstance(value, (list, tuple)):
            raise ConfigError(f"{path}: a list is expected, not {value!r}")
        return origin(_convert(args[0], v, f"{path}[{i}]") for i, v in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{path}: a mapping is expected, not {value!r}")
        return {k: _convert(args[1], v, _join(path, str(k))) for k, v in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise ConfigError(f"{path}: {value!r} is not {_type_name(hint)}")


def _type_name(hint: type) -> str:
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return names.get(hint, hint.__name__)
