"""XML read so that nothing is opened or expanded, and so that no second parser could read it differently (XML 1.0; Namespaces in XML 1.0).

Rules of this file:

1. Any DOCTYPE refuses the document where it stands: without one no entity can be declared, so nothing is expanded, and no place can be
   named from which more would be read. A processing instruction refuses it, too. Nothing here opens anything.
2. Only UTF-8 is read, with or without a byte order mark; a declaration that says something else refuses.
3. Limits refuse and never cut: bytes, depth, elements, attributes and namespaces of one element (R16).
4. Names are compared by namespace. A prefix is the document's choice and decides nothing, in `xsi:type` neither.
5. An element remembers that a comment stands in its text: readers differ in what they take such text for.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from defusedxml.common import DefusedXmlException, DTDForbidden
from defusedxml.ElementTree import ParseError, XMLParser

MAX_BYTES = 2_000_000
"""Longest document: 24 times the longest that was seen of one issuer, and room for the aggregates of small federations (R16)."""

MAX_DEPTH = 64
"""Deepest nesting of elements: real documents stay below 12 (R16)."""

MOST_ELEMENTS = 50_000
"""Elements of one document: the longest document that may be read has fewer, if it is one that anybody publishes (R16)."""

MOST_ATTRIBUTES = 100
"""Attributes, and apart from them namespaces, of one element: real ones have fewer than 20 (R16)."""

XSI_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"


class NotStrictXMLError(ValueError):
    """The text is not XML as this file wants it; the message says why and holds none of it."""


@dataclass(slots=True)
class Element:
    """One element.

    Attributes:
        tag: Its name as `{namespace}local`.
        attributes: Its attributes; those without a namespace by their local name.
        kind: What its `xsi:type` names, as `{namespace}local`; None without one, or where its prefix is not bound.
        children: Elements directly inside.
        text: Character data directly inside.
        has_comment: Whether a comment stands directly inside.
    """

    tag: str
    attributes: dict[str, str]
    kind: str | None = None
    children: list[Element] = field(default_factory=list)
    text: str = ""
    has_comment: bool = False

    def all(self, tag: str) -> list[Element]:
        """Return the children of this name."""
        return [child for child in self.children if child.tag == tag]


def parse_document(data: bytes) -> Element:
    """Return the root of a document.

    Raises:
        NotStrictXMLError: By the rules of this file.
    """
    if len(data) > MAX_BYTES:
        raise NotStrictXMLError(f"a document of {len(data)} bytes; at most {MAX_BYTES} are read")
    if not data.strip():
        raise NotStrictXMLError("an empty body")
    if b"\0" in data:
        # The parser would take the first bytes as a sign of UTF-16, whatever encoding it is told.
        raise NotStrictXMLError("bytes that are not UTF-8")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        raise NotStrictXMLError("bytes that are not UTF-8") from None
    return _parsed(data)


def _parsed(data: bytes) -> Element:
    builder = _Builder()
    # The encoding is told and not asked for: expat would take other ones, too.
    parser = XMLParser(target=builder, encoding="utf-8", forbid_dtd=True)
    parser.parser.XmlDeclHandler = _check_declaration
    try:
        parser.feed(data)
        root: Element = parser.close()
    except NotStrictXMLError:
        raise
    except DTDForbidden:
        raise NotStrictXMLError("a DOCTYPE, which is never read") from None
    except (ParseError, DefusedXmlException) as error:
        line, column = getattr(error, "position", (0, 0))
        raise NotStrictXMLError(f"text that is not XML, at line {line}, column {column}") from None
    return root


def _check_declaration(_version: str, encoding: str | None, _standalone: int) -> None:
    if encoding is not None and encoding.lower() != "utf-8":
        raise NotStrictXMLError("an XML declaration of an encoding other than UTF-8")


class _Builder:
    """Builds the tree while the parser reads, within the limits; its methods are those that the parser calls."""

    def __init__(self) -> None:
        self._root: Element | None = None
        self._open: list[Element] = []
        self._text: list[list[str]] = []
        self._prefixes: dict[str, list[str]] = {}
        self._elements = 0
        self._namespaces = 0

    def start_ns(self, prefix: str, namespace: str) -> None:
        self._namespaces += 1
        if self._namespaces > MOST_ATTRIBUTES:
            raise NotStrictXMLError(f"an element with more than {MOST_ATTRIBUTES} namespaces")
        self._prefixes.setdefault(prefix, []).append(namespace)

    def end_ns(self, prefix: str) -> None:
        self._prefixes[prefix].pop()

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._namespaces = 0
        self._elements += 1
        if self._elements > MOST_ELEMENTS:
            raise NotStrictXMLError(f"more than {MOST_ELEMENTS} elements")
        if len(self._open) >= MAX_DEPTH:
            raise NotStrictXMLError(f"nesting deeper than {MAX_DEPTH} levels")
        if len(attributes) > MOST_ATTRIBUTES:
            raise NotStrictXMLError(f"an element with more than {MOST_ATTRIBUTES} attributes")
        element = Element(tag, attributes, self._kind(attributes))
        if self._open:
            self._open[-1].children.append(element)
        else:
            self._root = element
        self._open.append(element)
        self._text.append([])

    def data(self, text: str) -> None:
        self._text[-1].append(text)

    def comment(self, _text: str) -> None:
        if self._open:
            self._open[-1].has_comment = True

    def pi(self, _target: str, _text: str) -> None:
        raise NotStrictXMLError("a processing instruction, which is never followed")

    def end(self, _tag: str) -> None:
        self._open.pop().text = "".join(self._text.pop())

    def close(self) -> Element | None:
        return self._root

    def _kind(self, attributes: dict[str, str]) -> str | None:
        """Return the type that an element claims, by the namespace that its prefix is bound to here (XML Schema, part 1, section 2.6.1)."""
        if XSI_TYPE not in attributes:
            return None
        prefix, colon, local = attributes[XSI_TYPE].strip(" \t\r\n").rpartition(":")
        bound = self._prefixes.get(prefix)
        if bound:
            return f"{{{bound[-1]}}}{local}"
        return None if colon else local
