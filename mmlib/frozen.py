"""Results that nothing can write to: as they are made, when copied, and when unpickled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, is_dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from scipy import sparse

Class = TypeVar("Class", bound=type)


class Frozen:
    """Base of the frozen dataclasses whose fields hold arrays, dicts or pandas objects.

    Arrays become read-only copies, and dicts read-only mappings. Pandas objects cannot be made
    read-only: fields that hold them are named to `gives_copies`. What such a class caches is left
    out of copies and pickles, where it is computed anew, unless it could not be.
    """

    keeps_cached = False

    def __post_init__(self) -> None:
        vars(self).update({name: read_only(value) for name, value in vars(self).items()})

    def __getstate__(self) -> dict[str, Any]:
        return {
            name: dict(value) if isinstance(value, MappingProxyType) else value
            for name, value in vars(self).items()
            if self.keeps_cached or not isinstance(getattr(type(self), name, None), cached_property)
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update({name: read_only(value) for name, value in state.items()})


class Closing:
    """Base of workings that set their attributes one after the other, until they are closed."""

    def __setattr__(self, name: str, value: Any) -> None:
        if "_closed" in self.__dict__:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        self.__dict__[name] = value

    def _close(self) -> None:
        """Seal what the object has made for itself, and refuse anything else."""
        vars(self).update({name: sealed(value) for name, value in vars(self).items()})
        self._closed = True

    def __getstate__(self) -> dict[str, Any]:
        return {
            name: dict(value) if isinstance(value, MappingProxyType) else value
            for name, value in vars(self).items()
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update({name: sealed(value) for name, value in state.items()})


_SEALED = (float, int, str, type(None), Closing)
"""What needs no look inside, and is most of what a factor holds, one for each evaluation."""


def sealed(value: Any) -> Any:
    """The value with nothing copied: its arrays read-only, lists as tuples, dicts as mappings."""
    if isinstance(value, _SEALED):
        return value
    if isinstance(value, np.ndarray):
        value.setflags(write=False)
    elif sparse.issparse(value):
        for name in ("data", "indices", "indptr"):
            sealed(getattr(value, name))
    elif isinstance(value, list | tuple):
        value = tuple(map(sealed, value))
    elif isinstance(value, dict):
        value = MappingProxyType({key: sealed(each) for key, each in value.items()})
    elif is_dataclass(value) and not isinstance(value, Frozen):
        for each in vars(value).values():
            sealed(each)
    return value


def read_only(value: Any) -> Any:
    """The value itself if nothing can write to it; otherwise, of an array or dict, a closed copy.

    Of an array that does not own its memory too: the owner could be written to.
    """
    if isinstance(value, np.ndarray) and (value.flags.writeable or value.base is not None):
        value = np.array(value)
        value.setflags(write=False)
    elif isinstance(value, dict):
        value = MappingProxyType({key: read_only(each) for key, each in value.items()})
    elif type(value) is tuple:
        value = tuple(read_only(each) for each in value)
    return value


def gives_copies(*fields: str) -> Callable[[Class], Class]:
    """Class decorator: whoever reads one of these fields, of pandas objects, gets a copy."""

    def decorate(cls: Class) -> Class:
        for name in fields:
            setattr(cls, name, _Copied(name))
        return cls

    return decorate


class _Copied:
    # No docstring: it would become that of every such field in the reference.

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type) -> Any:
        # The object itself is in `vars`, where only the class's own code looks.
        return self if instance is None else vars(instance)[self._name].copy()

    def __set__(self, instance: object, value: Any) -> None:
        vars(instance)[self._name] = value
