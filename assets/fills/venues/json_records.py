"""Finds the records inside one JSON text and the bytes of each, so that they are kept and traced like lines.

Every number stays the text that it was. A key that stands twice refuses the file: readers differ on it.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from assets.intake import BOM, FileRefused, Slice
from schemas.reasons import Flaw

SPACE = re.compile(r"[ \t\r\n]*")


@dataclass(slots=True)
class JsonRecords:
    """What stands at `path`: an array's members, or an object's if `keyed`; and other fields on the way."""

    path: tuple[str, ...]
    keyed: bool
    spans: list[tuple[int, int, str | None, Any]] | None = None  # Characters; None if nothing stands at the path.
    envelope: dict[str, Any] = field(default_factory=dict)

    def read(self, piece: Slice) -> Iterator[tuple[int, int, str | None, Any]]:
        """Read a whole file and return, lazily, the byte offset, length, key and value of each record.

        The envelope is known before the first record is asked for. FileRefused when it is not such JSON.
        """
        data = piece.bytes()
        try:
            text = data.decode("utf-8-sig")
            if _skip(text, self._walk(text, _skip(text, 0), self.path)) != len(text):
                raise ValueError("something after the end")
        except UnicodeDecodeError:
            raise FileRefused(Flaw.FILE_NOT_UTF8, "expected UTF-8") from None
        except (ValueError, RecursionError):
            raise FileRefused(Flaw.FILE_UNREADABLE, "not the JSON of a trade history, or it is cut short") from None
        return self._in_bytes(text, len(BOM) if data.startswith(BOM) else 0)

    def _in_bytes(self, text: str, offset: int) -> Iterator[tuple[int, int, str | None, Any]]:
        done = 0
        for start, end, key, value in self.spans or []:
            offset += len(text[done:start].encode())
            length = len(text[start:end].encode())
            yield offset, length, key, value
            offset, done = offset + length, end

    def _walk(self, text: str, at: int, path: tuple[str, ...]) -> int:
        """Read the container that starts at character `at`, and return where it ends."""
        keyed = bool(path) or self.keyed
        opening, closing = "{}" if keyed else "[]"
        if text[at : at + 1] != opening:
            raise ValueError("another kind of value")
        if not path:
            self.spans = []
        at = _skip(text, at + 1)
        if text[at : at + 1] == closing:
            return at + 1
        keys: set[str] = set()
        while True:
            start, key = at, None
            if keyed:
                key, at = _key(text, at)
                if key in keys:
                    raise FileRefused(Flaw.DUPLICATE_FIELD, "a key stands twice in one object")
                keys.add(key)
            if path and key == path[0]:
                at = self._walk(text, at, path[1:])
            else:
                value, at = DECODER.raw_decode(text, at)
                if path:
                    self.envelope[str(key)] = value
                else:
                    self.spans.append((start, at, key, value))  # type: ignore[union-attr]
            at = _skip(text, at)
            if text[at : at + 1] == closing:
                return at + 1
            if text[at : at + 1] != ",":
                raise ValueError("no comma")
            at = _skip(text, at + 1)


def _key(text: str, at: int) -> tuple[str, int]:
    key, at = DECODER.raw_decode(text, at)
    at = _skip(text, at)
    if not isinstance(key, str) or text[at : at + 1] != ":":
        raise ValueError("no key")
    return key, _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    return SPACE.match(text, at).end()  # type: ignore[union-attr]


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise FileRefused(Flaw.DUPLICATE_FIELD, "a key stands twice in one object")
    return dict(pairs)


DECODER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str, object_pairs_hook=_without_doubles)
