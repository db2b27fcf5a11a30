"""JSON values as typed XML, and back, for providers that still write XML.

    {"id": "f6", "cycle": 2, "trial": false, "note": null, "add_ons": [{"id": "a"}]}

    <subscription><id>f6</id><cycle type="integer">2</cycle><trial type="boolean">false</trial>
        <note nil="true"/><add-ons type="array"><add-on><id>a</id></add-on></add-ons></subscription>

This is the form of Rails, which Braintree writes. Names have hyphens there and underscores here. Other types
(`datetime`, `date`) stay texts, and so do numbers without a type: amounts are texts. An element without
anything in it is an empty text, also where an object could be.

XML can do more than say values: name other files, and grow a thousandfold when it is read. Nothing of that is
read. What has a document type, an entity of its own or a processing instruction is refused as it comes, and
so is what is too long, too deep, or of too many elements.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn
from xml.parsers import expat

# A subscription with all its transactions has a hundred kilobytes and some thousand elements.
MAX_BYTES: Final = 4 * 1024 * 1024
MAX_ELEMENTS: Final = 100_000
MAX_DEPTH: Final = 32

# Longer numbers are no numbers of anything.
_INTEGER = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_TYPED = ("integer", "boolean", "datetime", "date", "float", "decimal")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.]*", re.ASCII)
# What would not come back as it is.
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"})
# What no XML can hold, however it is written.
_IMPOSSIBLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class BadXml(ValueError):
    """XML that is none, or that does more than say values. It does not quote the text."""


def read(document: bytes, name: str) -> Any:
    """The value of a document whose outermost element has this name. Raises BadXml."""
    # Expat guesses at encodings of two bytes a character, and every one of them writes `<` with a zero.
    if len(document) > MAX_BYTES or b"\0" in document:
        raise BadXml("too long, or another encoding")
    found = _Reader().read(document)
    if found.name != name:
        raise BadXml("another document")
    return found.value


def write(value: Any, name: str) -> bytes:
    """A document whose outermost element has this name. Raises ValueError for what XML cannot say."""
    return "".join(_written(value, name)).encode()


@dataclass(slots=True)
class _Element:
    name: str
    attributes: Mapping[str, str]
    inner: list[_Element] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    value: Any = None

    def read(self) -> Any:
        """The value, when everything inside has one."""
        kind = self.attributes.get("type", "")
        if self.attributes.get("nil") == "true":
            return None
        if kind == "array":
            return [each.value for each in self.inner]
        if self.inner:
            # Of a name that comes twice the last one counts, as in JSON.
            return {each.name: each.value for each in self.inner}
        text = "".join(self.texts)
        return _typed(text.strip(), kind) if kind in _TYPED else text


def _typed(text: str, kind: str) -> Any:
    """A text of a type; one that is not of it stays a text, and nothing is null."""
    if kind == "integer" and _INTEGER.fullmatch(text):
        return int(text)
    if kind == "boolean":
        return _BOOLEANS.get(text, text or None)
    return text or None


class _Reader:
    """One document, read by expat from its beginning to its end, or to what is refused."""

    def __init__(self) -> None:
        self._open: list[_Element] = []
        self._elements = 0
        self._outermost: _Element | None = None

    def read(self, document: bytes) -> _Element:
        # The encoding is not up to the document.
        parser = expat.ParserCreate("utf-8")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = _refuse
        parser.EntityDeclHandler = _refuse
        parser.ExternalEntityRefHandler = _refuse
        parser.SkippedEntityHandler = _refuse
        parser.ProcessingInstructionHandler = _refuse
        try:
            parser.Parse(document.decode("utf-8"), True)
        except (UnicodeDecodeError, expat.ExpatError):
            raise BadXml("not XML") from None
        if self._outermost is None:
            raise BadXml("nothing in it")
        return self._outermost

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        self._elements += 1
        if self._elements > MAX_ELEMENTS or len(self._open) >= MAX_DEPTH:
            raise BadXml("too many elements, or too deep")
        self._open.append(_Element(name.replace("-", "_"), attributes))

    def _end(self, _: str) -> None:
        done = self._open.pop()
        done.value = done.read()
        # The values are enough, once they are read.
        done.inner, done.texts = [], []
        if self._open:
            self._open[-1].inner.append(done)
        else:
            self._outermost = done

    def _text(self, text: str) -> None:
        if self._open:
            self._open[-1].texts.append(text)


def _refuse(*_: object) -> NoReturn:
    raise BadXml("it does more than say values")


def _written(value: Any, name: str) -> Iterator[str]:
    if not _NAME.fullmatch(name):
        raise ValueError("no name of an element")
    tag = name.replace("_", "-")
    attributes, inner = _content(value, name)
    yield f"<{tag}{attributes}>"
    yield from inner
    yield f"</{tag}>"


def _content(value: Any, name: str) -> tuple[str, Iterator[str]]:
    """The attributes of an element, and what is in it."""
    if value is None:
        return ' nil="true"', iter(())
    if isinstance(value, Mapping):
        return "", (part for key, each in value.items() for part in _written(each, key))
    if isinstance(value, list):
        one = name.removesuffix("s") or name
        return ' type="array"', (part for each in value for part in _written(each, one))
    if isinstance(value, bool):
        return ' type="boolean"', iter((str(value).lower(),))
    if isinstance(value, int):
        return ' type="integer"', iter((str(value),))
    text = str(value)
    if _IMPOSSIBLE.search(text):
        raise ValueError("a character that no XML can hold")
    return "", iter((text.translate(_ESCAPES),))
