"""The directory of a zip archive, read so strictly that no two readers can see two contents.

A zip file says everything twice: before each entry, in its own header, and at the end, in the
directory, which the end record points to.  Readers differ in which they believe, and files that
tell a scanner one thing and a loader another are made of such differences.  Here both must agree,
and the entries must fill the archive without gaps: header, bytes, header, bytes, ..., directory,
end record.  (Layout: PKWARE's APPNOTE.TXT, 4.3.)
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from tinygrad_edu.serialization.errors import CheckpointError

CHUNK = 1 << 20
"""Bytes are searched, read and checked in pieces that stay in the processor's cache."""

HEADER = struct.Struct("<4s5H3I2H")  # before an entry's bytes
LINE = struct.Struct("<4s6H3I5H2I")  # an entry's line in the directory
END = struct.Struct("<4s4H2IH")  # the end record
END_64 = struct.Struct("<4sQ2H2I4Q")  # the same in 64 bits, and where that stands
WHERE_64 = struct.Struct("<4sIQI")
_SIGNATURE = b"PK\x05\x06"
UTF8, DESCRIBED = 0x800, 0x8  # the name's encoding; sums and sizes follow the bytes
FULL, FULL_COUNT = 0xFFFFFFFF, 0xFFFF  # "see the field of 64 bits"
_FOLDER = 0x10  # an attribute, for which torch finds no bytes
ZIP64, _OTHER_NAME = 1, 0x7075  # kinds of extra fields

ReadAt = Callable[[int, int], bytes]
"""Reads so many bytes from there on; fewer where the file ends."""


class Entry(NamedTuple):
    """Where in the file the bytes of one entry lie, and their checksum."""

    name: str
    start: int
    size: int
    crc: int


class _End(NamedTuple):
    """What the end record says, in places of the file."""

    lines: int
    start: int
    size: int
    end: int  # of the archive


class _Line(NamedTuple):
    """What the directory says of an entry."""

    name: bytes
    flags: int
    crc: int
    size: int
    at: int  # of its header


def entries(read: ReadAt, start: int, length: int, whole: bool) -> list[Entry]:
    """The entries of the archive that begins at `start` of a file of `length` bytes, in order.

    Args:
        read: reads from the file.
        start: where the archive begins.
        length: of the whole file.
        whole: the file must end with the archive; else of several archives the first is read.

    Raises:
        CheckpointError: it is none, is damaged, or contradicts itself.
    """
    end = _end_record(read, start, length - END.size)
    if end is None and not whole:
        end = _first_end_record(read, start, length)
    if end is None:
        raise CheckpointError(
            "the archive's directory is not where it should be: the file is truncated or damaged,"
            " or has bytes before or behind the archive"
        )
    listed = sorted(_lines(read(end.start, end.size), end, start), key=lambda line: line.at)
    if not listed:
        raise CheckpointError("the archive is empty")
    found, at = [], start
    for line, following in zip(listed, [*listed[1:], None], strict=True):
        if line.at != at:
            what = "overlaps" if line.at < at else "leaves a gap behind"
            raise CheckpointError(f"entry {_shown(line.name)} {what} the one before it")
        at = following.at if following else end.start
        found.append(_checked(read, line, at))
    return found


def _end_record(read: ReadAt, start: int, at: int) -> _End | None:
    """The end record at `at`, if there is one that belongs to an archive beginning at `start`."""
    raw = read(at, END.size) if at >= start else b""
    if len(raw) < END.size or not raw.startswith(_SIGNATURE):
        return None
    _, disk, first_disk, here, count, size, place, comment = END.unpack(raw)
    behind = at  # of the directory
    wide = read(at - 76, 76) if at - 76 >= start else b""
    if wide[56:60] == b"PK\x06\x07":
        _, disk_64, place_64, disks = WHERE_64.unpack(wide[56:])
        head, length, _, _, *more = END_64.unpack(wide[:56])
        narrow = (disk, first_disk, here, count, size, place)
        if head != b"PK\x06\x06" or length != 44 or place_64 != at - 76 - start:
            return None
        limits = (FULL_COUNT,) * 4 + (FULL,) * 2
        same = [a in (b, limit) for a, b, limit in zip(narrow, more, limits, strict=True)]
        if disk_64 or disks != 1 or not all(same):
            raise CheckpointError("the archive has two end records, which contradict each other")
        disk, first_disk, here, count, size, place = more
        behind = at - 76
    if start + place + size != behind:
        return None
    if disk or first_disk or here != count:
        raise CheckpointError("the archive claims to be one of several parts")
    if comment:
        raise CheckpointError("the archive ends with a comment, which checkpoints never have")
    return _End(count, start + place, size, at + END.size)


def _first_end_record(read: ReadAt, start: int, length: int) -> _End | None:
    """The first end record that belongs to an archive beginning at `start`."""
    at = start
    while at < length:
        piece = read(at, CHUNK + 3)
        found = piece.find(_SIGNATURE)
        while found >= 0:
            end = _end_record(read, start, at + found)
            if end is not None:
                return end
            found = piece.find(_SIGNATURE, found + 1)
        at += CHUNK
    return None


def _lines(data: bytes, end: _End, start: int) -> list[_Line]:
    """The lines of the directory `data`."""
    found, at = [], 0
    for _ in range(end.lines):
        if at + LINE.size > len(data) or not data.startswith(b"PK\x01\x02", at):
            raise CheckpointError("the archive's directory is damaged")
        fields = LINE.unpack_from(data, at)
        _, _, _, flags, method, _, _, crc, packed, size, names, extras, comment = fields[:13]
        disk, attributes, place = fields[13], fields[15], fields[16]
        at += LINE.size + names + extras + comment
        if at > len(data):
            raise CheckpointError("the archive's directory is damaged")
        extra = data[at - extras - comment : at - comment]
        name = data[at - extras - comment - names : at - extras - comment]
        size, packed, place = _wide(extra, [size, packed, place], name)
        if method or packed != size:
            raise CheckpointError(f"entry {_shown(name)} is compressed, which checkpoints never do")
        if flags & ~(UTF8 | DESCRIBED):
            raise CheckpointError(f"entry {_shown(name)} is encrypted, or of an unknown kind")
        if disk or comment or attributes & _FOLDER:
            raise CheckpointError(
                f"entry {_shown(name)} has a comment, is a folder or lies in another file"
            )
        found.append(_Line(name, flags, crc, size, start + place))
    if at != len(data):
        raise CheckpointError("the archive's directory has more lines than it claims")
    return found


def _extra_64(extra: bytes, name: bytes) -> bytes | None:
    """The field of 64-bit sizes among extra fields."""
    at, wide = 0, None
    while at < len(extra):
        kind, size = struct.unpack_from("<HH", extra, at) if at + 4 <= len(extra) else (0, FULL)
        if at + 4 + size > len(extra) or kind == _OTHER_NAME or (kind == ZIP64 and wide):
            raise CheckpointError(f"entry {_shown(name)} has an extra field that is not allowed")
        if kind == ZIP64:
            wide = extra[at + 4 : at + 4 + size]
        at += 4 + size
    return wide


def _wide(extra: bytes, narrow: list[int], name: bytes) -> list[int]:
    """Sizes and places; those that do not fit in 32 bits are taken from the extra field."""
    wide = _extra_64(extra, name)
    if wide is None:
        return narrow
    missing = narrow.count(FULL)
    if len(wide) != 8 * missing:
        raise CheckpointError(f"entry {_shown(name)} has an extra field of a wrong size")
    values = iter(struct.unpack(f"<{missing}Q", wide))
    return [next(values) if value == FULL else value for value in narrow]


def _checked(read: ReadAt, line: _Line, following: int) -> Entry:
    """The entry that the directory lists, once what stands around its bytes has agreed.

    It must fill the space up to the `following` one.
    """
    name = line.name
    raw = read(line.at, HEADER.size)
    if len(raw) < HEADER.size or not raw.startswith(b"PK\x03\x04"):
        raise CheckpointError(f"entry {_shown(name)} is not where the directory says")
    _, _, flags, method, _, _, crc, packed, size, names, extras = HEADER.unpack(raw)
    more = read(line.at + HEADER.size, names + extras)
    if more[:names] != name or (flags, method) != (line.flags, 0):
        raise CheckpointError(f"the header of entry {_shown(name)} contradicts the directory")
    extra = more[names:]
    if flags & DESCRIBED and (crc, packed, size) == (0, 0, 0):
        _extra_64(extra, name)  # torch writes sizes into it all the same
    elif (crc, *_wide(extra, [size, packed], name)) != (line.crc, line.size, line.size):
        raise CheckpointError(f"the header of entry {_shown(name)} states another size or checksum")
    start = line.at + HEADER.size + names + extras
    rest = following - start - line.size
    if rest not in ((12, 16, 20, 24) if flags & DESCRIBED else (0,)):
        raise CheckpointError(
            f"entry {_shown(name)} claims {line.size} bytes at {start}, which do not fill the space"
            " up to the next"
        )
    if rest and read(start + line.size, rest) not in _descriptions(line):
        raise CheckpointError(f"what follows entry {_shown(name)} contradicts the directory")
    return Entry(_decoded(name, flags), start, line.size, line.crc)


def _descriptions(line: _Line) -> list[bytes]:
    """What may follow the bytes of an entry whose header left sum and sizes open."""
    wide = struct.pack("<IQQ", line.crc, line.size, line.size)
    narrow = struct.pack("<III", line.crc, min(line.size, FULL), min(line.size, FULL))
    return [mark + sums for mark in (b"PK\x07\x08", b"") for sums in (narrow, wide)]


def _decoded(name: bytes, flags: int) -> str:
    try:
        return name.decode("utf-8" if flags & UTF8 else "ascii")
    except UnicodeDecodeError:
        raise CheckpointError(f"entry {_shown(name)} has a name of unknown encoding") from None


def _shown(name: bytes) -> str:
    return repr(name[:100].decode("utf-8", "backslashreplace"))
