"""Options as fields of dataclasses: from a TOML file and from flags, which override it.

A field made by `option` has a help text and is a flag of the command line. Fields are named by their path,
"batch.works" for field `works` of the dataclass in field `batch`; in TOML `batch` is a table.
"""

import argparse
import dataclasses
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from mirex.errors import UsageError

T = TypeVar("T")
_DEST = "option:"


def option(
    default: Any,
    help: str,
    *,
    flag: str | None = None,
    choices: Sequence[Any] | None = None,
    metavar: str | None = None,
) -> Any:
    """Make a field of a dataclass that is an option.

    Parameters
    ----------
    default : object
        Its value if neither file nor flag gives one.
    help : str
        Its text in `--help`.
    flag : str, optional
        Its flag without "--"; the field's name by default.
    choices : sequence, optional
        Its possible values.
    metavar : str, optional
        What stands for its value in `--help`; by default FILE for a path and N for a number.

    Returns
    -------
    dataclasses.Field
    """
    metadata = {"help": help, "flag": flag, "choices": choices, "metavar": metavar}
    return dataclasses.field(default=default, metadata=metadata)


class Leaf(NamedTuple):
    """A field that is not itself a dataclass.

    Attributes
    ----------
    path : str
        Its dotted name.
    type : type
        Of its value.
    metadata : mapping
        Of the field.
    """

    path: str
    type: Any
    metadata: Mapping[str, Any]


def leaves(cls: type, prefix: str = "") -> Iterator[Leaf]:
    """List the fields of a dataclass and of the dataclasses in it.

    Parameters
    ----------
    cls : type
        The dataclass.
    prefix : str
        Before every path.

    Yields
    ------
    Leaf
    """
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        kind = hints[field.name]
        if dataclasses.is_dataclass(kind):
            yield from leaves(typing.cast(type, kind), f"{prefix}{field.name}.")
        else:
            yield Leaf(prefix + field.name, kind, field.metadata)


def add_flags(
    parser: argparse.ArgumentParser, cls: type, *, prefix: str = "", help: Mapping[str, str] = {}
) -> None:
    """Add a flag for every option of a dataclass.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Where to add them.
    cls : type
        The dataclass.
    prefix : str
        Before the paths of its fields.
    help : mapping of str to str
        Help texts, by path, of further fields that were not made by `option`.
    """
    for path, kind, metadata in leaves(cls, prefix):
        text = metadata.get("help") or help.get(path)
        if text is None:
            continue
        flag = "--" + (metadata.get("flag") or path.rpartition(".")[2]).replace("_", "-")
        settings: dict[str, Any] = {"dest": _DEST + path, "default": argparse.SUPPRESS, "help": text}
        inner, several = _inner(kind)
        if inner is bool:
            settings["action"] = argparse.BooleanOptionalAction
        else:
            settings |= {"type": inner, "choices": metadata.get("choices")}
            settings |= {"nargs": "+"} if several else {}
            if not metadata.get("choices"):
                usual = "FILE" if inner is Path else "N" if inner in (int, float) else None
                settings["metavar"] = metadata.get("metavar") or usual
        parser.add_argument(flag, **settings)


def given(args: argparse.Namespace) -> dict[str, Any]:
    """Take the options that were given as flags.

    Parameters
    ----------
    args : Namespace
        Of the command line.

    Returns
    -------
    dict
        {path: value}.
    """
    found = vars(args).items()
    return {name.removeprefix(_DEST): value for name, value in found if name.startswith(_DEST)}


def read_toml(path: Path) -> dict[str, Any]:
    """Read the options of a TOML file.

    Parameters
    ----------
    path : Path
        A recipe.

    Returns
    -------
    dict
        {path: value}.

    Raises
    ------
    UsageError
        If the file cannot be read or is not TOML.
    """
    try:
        with open(path, "rb") as file:
            return dict(flattened(tomllib.load(file)))
    except OSError as error:
        raise UsageError(f"recipe {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"recipe {path}: not TOML ({error})") from error


def flattened(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested tables.

    Parameters
    ----------
    table : mapping of str to object
        Values, and further tables.
    prefix : str
        Before each path.

    Yields
    ------
    (str, object)
        Path and value.
    """
    for name, value in table.items():
        if isinstance(value, dict):
            yield from flattened(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def build(cls: type[T], values: Mapping[str, Any], *, prefix: str = "") -> T:
    """Make a dataclass with these values for its fields, and defaults for the others.

    Parameters
    ----------
    cls : type
        The dataclass.
    values : mapping of str to object
        By path.
    prefix : str
        Before the paths of its fields.

    Returns
    -------
    object
        Of the class.

    Raises
    ------
    UsageError
        If a value is not of its field's type, or not one of its choices.
    """
    hints = typing.get_type_hints(cls)
    found: dict[str, Any] = {}
    for field in dataclasses.fields(typing.cast(Any, cls)):
        path, kind = prefix + field.name, hints[field.name]
        if dataclasses.is_dataclass(kind):
            found[field.name] = build(typing.cast(type, kind), values, prefix=f"{path}.")
        elif path in values:
            found[field.name] = _checked(path, values[path], kind, field.metadata.get("choices"))
    return cls(**found)


def check_known(values: Mapping[str, Any], known: Sequence[Leaf], *, source: Path) -> None:
    """Check that all options exist.

    Parameters
    ----------
    values : mapping
        {path: value}.
    known : sequence of Leaf
        The options that exist.
    source : Path
        Where the values were read, for the message.

    Raises
    ------
    UsageError
        If one is unknown.
    """
    names = {leaf.path for leaf in known}
    odd = sorted(set(values) - names)
    if odd:
        raise UsageError(
            f"recipe {source}: unknown option {', '.join(odd)}; choose from {', '.join(sorted(names))}"
        )


def _inner(kind: Any) -> tuple[type, bool]:
    """The type of one value, and whether several are allowed."""
    if typing.get_origin(kind) is tuple:
        return typing.get_args(kind)[0], True
    if isinstance(kind, types.UnionType):
        return next(each for each in typing.get_args(kind) if each is not type(None)), False
    return kind, False


def _checked(path: str, value: Any, kind: Any, choices: Sequence[Any] | None) -> Any:
    inner, several = _inner(kind)
    if several:
        values = [value] if isinstance(value, str | Path) else value
        if not isinstance(values, list | tuple):
            raise UsageError(f"option {path} = {value!r}: give a list")
        return tuple(_checked(path, each, inner, choices) for each in values)
    if inner is Path and isinstance(value, str | Path):
        return Path(value)
    if inner is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, inner) or (isinstance(value, bool) and inner is not bool):
        raise UsageError(f"option {path} = {value!r}: give a value of type {inner.__name__}")
    if choices and value not in choices:
        raise UsageError(f"option {path} = {value!r}: give one of {', '.join(choices)}")
    return value
