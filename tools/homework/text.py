"""From the Markdown of the book (MyST) to plain Markdown with maths, as every Jupyter shows it.

What is MyST and what is not is decided by MyST's own parser: its tokens are walked, and the spans
of the text that are roles, directives, labels or comments are replaced. Anything for which there
is no plain form is an error, so that nothing is left over in silence.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from typing import ClassVar

from docutils.parsers.rst import Directive
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.directives import parse_directive_text
from myst_parser.parsers.mdit import create_md_parser

from tools import ToolError

# As in _config.yml (parse: myst_enable_extensions).
EXTENSIONS = {"amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath", "substitution"}
_UNSUPPORTED = {
    *("dl_open", "footnote_ref", "footnote_block_open", "span_open", "substitution_block"),
    *("substitution_inline", "colon_fence", "myst_block_break"),
}
_INFO = re.compile(r"\{(?P<name>[^}]+)\}\s*(?P<argument>.*)")
_TITLED = re.compile(r"(?s)(?P<text>.*?)\s*<(?P<target>[^<>]+)>")


class HomeworkError(ToolError):
    """Homework that cannot be made; the message names the place and what to do."""


@dataclass(frozen=True)
class References:
    """What the book's references say when they are written out.

    Attributes
    ----------
    titles : dict
        Page to title, for `{doc}`.
    labels : dict
        Label of a figure, an exercise or an equation to its name, for `{numref}` and `{eq}`.
    citations : dict
        Key to (authors, year).
    terms : frozenset of str
        Those of the glossary, in small letters.
    """

    titles: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    citations: dict[str, tuple[str, str]] = field(default_factory=dict)
    terms: frozenset[str] = frozenset()

    def of(self, role: str, content: str) -> str:
        """Write out one role.

        Raises
        ------
        HomeworkError
            If the role has no plain form, or refers to nothing that there is.
        """
        titled = _TITLED.fullmatch(content)
        text, target = titled.groups() if titled else ("", content)
        try:
            match role:
                case "doc":
                    title = self.titles[target.removeprefix("/")]
                    return f"*{text or title}*"
                case "term":
                    if (term := " ".join(target.split()).lower()) not in self.terms:
                        raise KeyError(term)
                    return text or target
                case "numref" | "ref" | "eq" | "prf:ref":
                    label = self.labels[target]
                    return text or label
                case "cite" | "cite:p":
                    keys = target.split(",")
                    return f"({'; '.join(', '.join(self.citations[k.strip()]) for k in keys)})"
                case "cite:t":
                    found = [self.citations[key.strip()] for key in target.split(",")]
                    return ", ".join(f"{authors} ({year})" for authors, year in found)
                case "func" | "meth" | "class" | "attr" | "mod":
                    name = target.split(".")[-1] if target.startswith("~") else target
                    return f"`{text or name}{'()' if role in ('func', 'meth') else ''}`"
        except KeyError as error:
            known = [*self.titles, *self.labels, *self.citations, *self.terms]
            near = get_close_matches(error.args[0], known, n=1)
            meant = f": did you mean {near[0]}?" if near else ""
            lost = f"{{{role}}}`{content}` refers to nothing in the book{meant}"
            raise HomeworkError(lost) from None
        raise HomeworkError(f"the role {{{role}}} has no plain form in tools/homework/text.py")


@cache
def parser() -> MarkdownIt:
    """Return the parser by which the site reads the book."""
    return create_md_parser(MdParserConfig(enable_extensions=EXTENSIONS), RendererHTML)


@dataclass(frozen=True)
class Block:
    """A directive: where it stands in the text (lines, the last one exclusive) and what it says."""

    name: str
    argument: str
    options: dict[str, str]
    body: str
    lines: tuple[int, int]


class _AnyDirective(Directive):
    optional_arguments = 1
    final_argument_whitespace = True
    has_content = True
    option_spec: ClassVar = {"label": str}  # others are read, too


def directives(text: str) -> list[Block]:
    """Find the directives of a text, outermost only."""
    return [block_of(token) for token in parser().parse(text) if is_directive(token)]


def gates(text: str) -> Iterator[tuple[str, Block | None]]:
    """Cut a text at the gates of exercises and solutions: each part, and the gate after it."""
    lines, start = text.splitlines(), 0
    for block in directives(text):
        if block.name.startswith(("exercise-", "solution-")):
            yield "\n".join(lines[start : block.lines[0]]), block
            start = block.lines[1]
    yield "\n".join(lines[start:]), None


def plain(text: str, references: References) -> str:
    """Return the text in plain Markdown.

    Raises
    ------
    HomeworkError
        If something in it has no plain form.
    """
    for first, last, replacement in reversed(list(_edits(text, references))):
        text = text[:first] + replacement + text[last:]
    return text.strip("\n")


_Edit = tuple[int, int, str]  # from, to, replacement


def _edits(text: str, references: References) -> Iterator[_Edit]:
    """Walk the tokens in the order of the text, with a cursor that says how far it has come."""
    starts = _line_starts(text)
    cursor = 0
    for token in parser().parse(text):
        if token.map:
            cursor = max(cursor, starts[token.map[0]])
        if token.type in _UNSUPPORTED or (token.level and is_directive(token)):
            line = text.count("\n", 0, cursor) + 1
            raise HomeworkError(f"line {line}: {token.type} has no plain form here")
        if token.type == "inline":
            for child in _flat(token.children or []):
                first, cursor = _find(child, text, cursor)
                if child.type == "myst_role":
                    yield first, cursor, references.of(child.meta["name"], child.content)
        elif token.map and (written := _write_token(token, references)) is not None:
            yield starts[token.map[0]], starts[token.map[1]], written


def _write_token(token: Token, references: References) -> str | None:
    """Write a block in plain Markdown; None if it is plain as it stands."""
    if is_directive(token):
        return _write_block(block_of(token), references)
    if token.type == "math_block_label":
        return _display(token.content.strip() + _tag(token.info, references))
    return "" if token.type in ("myst_target", "myst_line_comment") else None


def is_directive(token: Token) -> bool:
    """Whether a token is a MyST directive."""
    return token.type == "fence" and token.info.startswith("{")


def block_of(token: Token) -> Block:
    """The directive that a token is."""
    found = _INFO.fullmatch(token.info.strip())
    if found is None or token.map is None:
        raise HomeworkError(f"a directive that cannot be read: {token.info!r}")
    parsed = parse_directive_text(
        _AnyDirective, found["argument"], token.content, validate_options=False
    )
    options = {key: str(value) for key, value in parsed.options.items()}
    body = "\n".join(parsed.body)
    return Block(found["name"], found["argument"], options, body, (token.map[0], token.map[1]))


def _write_block(block: Block, references: References) -> str:
    """Write a directive in plain Markdown, with an empty line after it."""
    match block.name:
        case "admonition" | "note" | "tip" | "important" | "warning":
            title = plain(block.argument, references) or block.name.capitalize()
            body = f"**{title}**\n\n{plain(block.body, references)}"
            return textwrap.indent(body, "> ", lambda _: True) + "\n\n"
        case "tab-set":
            return plain(block.body, references) + "\n\n"
        case "tab-item":
            return f"**{block.argument}**\n\n{plain(block.body, references)}\n\n"
        case "math":
            label = block.options.get("label", "")
            return _display(block.body.strip() + _tag(label, references))
    raise HomeworkError(
        f"the directive {{{block.name}}} has no plain form in tools/homework/text.py"
    )


def _tag(label: str, references: References) -> str:
    return f" \\tag{{{references.of('eq', label).strip('()')}}}" if label else ""


def _display(formula: str) -> str:
    return f"$$\n{formula}\n$$\n"


def _flat(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from _flat(token.children or [])


def _find(token: Token, text: str, start: int) -> tuple[int, int]:
    """Find where a role or a piece of code stands in the text; others need not be found."""
    if token.type not in ("myst_role", "code_inline"):
        return start, start
    words = r"\s+".join(map(re.escape, token.content.split()))
    words = words.replace(r"\|", r"\\?\|")  # in a table a bar is escaped
    name = re.escape(f"{{{token.meta['name']}}}") if token.type == "myst_role" else ""
    found = re.compile(rf"{name}(?P<fence>`+)\s*{words}\s*(?P=fence)").search(text, start)
    if found is None:
        raise HomeworkError(f"cannot find {token.content!r} in its text")
    return found.span()


def _line_starts(text: str) -> list[int]:
    lengths = [len(line) for line in text.splitlines(keepends=True)]
    return [sum(lengths[:number]) for number in range(len(lengths) + 1)]
