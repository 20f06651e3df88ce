"""Saving and loading in torch's file format, without torch and without running anything.

A checkpoint is a zip archive: a pickle that describes the objects, and one entry per run of memory
that tensors share.  `writing` makes the pickle and `storing` the archive; `atomic` puts it in place
of an older one.  `archive`, `reading`, `names` and `memory` take it apart, believing nothing it
says.
"""

from __future__ import annotations

import os
import pickle
from typing import Any

from tinygrad_edu.out_of_memory import told
from tinygrad_edu.serialization import formats, legacy, storing, writing
from tinygrad_edu.serialization.archive import Archive
from tinygrad_edu.serialization.atomic import replacing
from tinygrad_edu.serialization.classes import (
    add_safe_globals,
    clear_safe_globals,
    get_safe_globals,
    safe_globals,
)
from tinygrad_edu.serialization.errors import CheckpointError
from tinygrad_edu.serialization.memory import MapLocation, Shelf
from tinygrad_edu.serialization.reading import Unpickler

__all__ = [
    "CheckpointError", "add_safe_globals", "clear_safe_globals", "get_safe_globals", "load",
    "safe_globals", "save",
]  # fmt: skip


@told
def save(
    obj: object,
    f: Any,
    pickle_module: object = pickle,
    pickle_protocol: int = 2,
    _use_new_zipfile_serialization: bool = True,
    _disable_byteorder_record: bool = False,
) -> None:
    """Write an object to a file that `load` and torch's `load` read.

    A file given by its path is replaced as a whole: whatever happens meanwhile, it holds the old
    content or the new one.  Only where no other file can be put in its place (a pipe, a device, a
    mount point, a folder that takes no new files) is it overwritten, and a crash can leave it torn.
    Tensors that share memory still do when they are loaded again.  While another thread writes to
    them, a file holds some values from before and some from after, and can be loaded.

    Args:
        obj: tensors, parameters, and dicts, lists, tuples and sets of them, with strings, bytes,
            numbers, None, dtypes, devices and sizes: what `state_dict()` returns, for instance.
            Also whole modules, and objects that are made of attributes alone; their classes, and
            functions among their attributes, must be found in a module by their names.
        f: a path, or a file object open for writing bytes.
        pickle_module: changes nothing; the others are torch's, too, and must be as they are.

    Raises:
        TypeError: `obj` holds something else, such as a lambda or a NumPy array; the message says
            where.
        OSError: the disk is full, say; an old file is left as it was.  The error names the file and
            what failed.

    >>> import io, tinygrad_edu as torch
    >>> file = io.BytesIO()
    >>> torch.save({"step": 3, "weight": torch.ones(2)}, file)
    >>> _ = file.seek(0)
    >>> torch.load(file)
    {'step': 3, 'weight': tensor([1., 1.])}

    Unlike torch, objects with a way of their own to be pickled are refused; NumPy's numbers are
    saved as Python's; memory that no saved tensor uses is not written; a file is replaced
    atomically.
    """
    if pickle_protocol != 2:
        raise ValueError("save(): only pickle_protocol=2, torch's default, is written")
    if not _use_new_zipfile_serialization:
        raise ValueError("save(): the format from before torch 1.6 is not written")
    if _disable_byteorder_record:
        raise ValueError("save(): the byte order is always recorded")
    pickler = writing.Pickler()
    pickle = pickler.dump(obj)
    spans = list(pickler.spans.values())
    writing.check_overlap(spans)
    parts = storing.layout(pickle, spans)
    if hasattr(f, "write"):
        storing.write(parts, f)
        return
    try:
        with replacing(f) as target:
            if target.fresh and hasattr(os, "pwrite"):
                storing.write_in_place(parts, target.file)
            else:
                storing.write(parts, target.file)
    except (FileNotFoundError, NotADirectoryError):
        folder = os.path.dirname(os.fsdecode(f))
        if folder and not os.path.isdir(folder):
            raise RuntimeError(f"Parent directory {folder} does not exist.") from None
        raise


@told
def load(
    f: Any,
    map_location: MapLocation = None,
    pickle_module: object = None,
    *,
    weights_only: bool | None = True,
    mmap: bool | None = None,
    **pickle_load_args: object,
) -> Any:
    """Read what `save` of this package or of torch has written.  Nothing in a file is ever run.

    Args:
        f: a path, or a file object open for reading bytes, which can seek.  It is read from where
            it stands; of several archives that follow each other, the first.
        map_location: where tensors go instead of where they were saved from: a device or its name,
            a dict from names to names, or a function of (memory, name) that returns the memory,
            moved by `cpu()` or `cuda(index)`, or None for where it was.
        pickle_module: must be None.
        weights_only: False for files with whole modules: of classes that the running program has
            defined or imported.  Such a module is made without calling anything of its class.
        mmap: leave the tensors' memory in the file until it is used; writes to it stay in this
            process, and checksums are not compared.

    Raises:
        CheckpointError: the file is damaged, or asks for something that loading never does; it is
            an `UnpicklingError` and a `RuntimeError`, as torch raises for such files, and for a
            file without content an `EOFError`.
        OSError: reading failed; the error names the file.
        ValueError: `mmap=True` with a file object.
        RuntimeError: tensors were saved from a GPU and there is none: use `map_location="cpu"`.

    >>> import io, tinygrad_edu as torch
    >>> file = io.BytesIO()
    >>> torch.save(torch.arange(3), file)
    >>> _ = file.seek(0)
    >>> torch.load(file, map_location="cpu", weights_only=True)
    tensor([0, 1, 2])

    Unlike torch, `weights_only=False` runs nothing either, so a class with a `__setstate__`,
    `__reduce__` or `__del__` of its own is refused, as are classes that are no modules unless
    `serialization.add_safe_globals` names them; entries' checksums are always compared.
    A file given by its path must be one archive, with nothing before or behind it.  The memory and
    the time that loading takes are bounded by the file's length (docs/promises.md has numbers).
    """
    whole = weights_only is False
    if pickle_module is not None or set(pickle_load_args) - {"encoding"}:
        raise ValueError("load(): pickle_module and its options are not supported")
    if hasattr(f, "read"):
        if mmap:
            raise ValueError("f must be a string filename in order to use mmap argument")
        if not hasattr(f, "seek") or not hasattr(f, "tell"):
            raise AttributeError(
                "You can only torch.load from a file that is seekable. Please pre-load the data"
                " into a buffer like io.BytesIO and try to load from it instead."
            )
        result, end = _load(f, map_location, False, whole, False)
        f.seek(end)  # as torch leaves it: behind what was read, not behind the archive
        return result
    try:
        with open(f, "rb", buffering=0) as file:
            return _load(file, map_location, bool(mmap), whole, True)[0]
    except OSError as error:
        if error.filename is None:
            error.filename = os.fsdecode(f)
        raise


def _load(
    file: Any, map_location: MapLocation, mapped: bool, whole: bool, alone: bool
) -> tuple[Any, int]:
    """The objects in an open file, and where the last of what was read ends."""
    begin = file.tell()
    head = file.read(len(formats.LEGACY))
    if head == formats.LEGACY:
        if mapped:
            raise RuntimeError("mmap=True is for zip archives; this file is older: save it again")
        result, end = legacy.read(head + file.read(), map_location, whole)
        return result, begin + end
    file.seek(begin)
    archive = Archive(file, whole=alone)
    shelf = Shelf(archive, map_location, mapped)
    result = Unpickler(archive.read("data.pkl"), shelf.find, whole).load()
    shelf.read()
    return result, archive.last
