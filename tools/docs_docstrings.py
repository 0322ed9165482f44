"""Docstrings as Markdown, for mkdocstrings to show: the style of this project is none that it knows."""

from __future__ import annotations

import griffe

from reference_pages import markdown_of


class Docstrings(griffe.Extension):
    """Rewrites the docstring of every object that is read."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Rewrite one docstring."""
        if obj.docstring is not None:
            obj.docstring.value = markdown_of(obj.docstring.value)
