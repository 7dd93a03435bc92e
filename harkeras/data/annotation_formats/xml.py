"""XML as text."""

from __future__ import annotations

from xml.etree import ElementTree


def to_text(root: ElementTree.Element) -> str:
    """Return a document, indented, with its declaration."""
    ElementTree.indent(root, " " * 4)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'
