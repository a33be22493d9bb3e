"""Names of columns in formulas: between backticks a name may be anything, and means only itself.

Formulaic and Python read plain identifiers, and Python takes some letters for others (the micro
sign for a Greek mu). So a name that is quoted, or has letters beyond ASCII, is replaced by an alias
that spells its bytes, before either of them sees it, and put back wherever something is shown.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable

from formulaic.transforms import TRANSFORMS

from mmlib.design.words import CONSTANTS
from mmlib.errors import FormulaError

_TOKEN = re.compile(
    r"""'(?:\\.|[^'\\])*' | "(?:\\.|[^"\\])*"       # text, which stays
      | `(?:[^`]|``)+`                              # a quoted name
      | (?:[^\W\d]|[^\x00-\x7f\s])(?:\w|[^\x00-\x7f\s])*""",
    re.VERBOSE | re.DOTALL,
)
_ALIAS = re.compile(r"_mm((?:[0-9a-f]{2})+)_")
_QUOTED_OR_SPACE = re.compile(r"(`(?:[^`]|``)+`)|\s+", re.DOTALL)
_COLON = re.compile(r":(?=(?:[^`]*`[^`]*`)*[^`]*$)")
"""A colon outside backticks."""

_OTHER_MEANING = {"0", "1", "Intercept"}
_NO_WORDS_HERE = frozenset(keyword.kwlist) - {
    *("True", "False", "None", "and", "or", "not", "in", "is", "if", "else", "for", "lambda")
}
"""Python's words that have no meaning in a formula, nor a refusal of their own."""


def alias(name: str) -> str:
    """The identifier that stands for a column's name."""
    return f"_mm{name.encode('utf-8', 'surrogatepass').hex()}_"


def name_of(identifier: str) -> str:
    """The column that an identifier stands for: its own name, unless it is an alias."""
    return _ALIAS.sub(_spelled, identifier)


def _spelled(match: re.Match[str]) -> str:
    return bytes.fromhex(match[1]).decode("utf-8", "surrogatepass")


def with_aliases(text: str) -> str:
    """A formula in which every name that is not a plain one is replaced by its alias.

    In a call, which is Python, so is a column called like one of Python's words: ``log(yield)``.
    """
    words = _NO_WORDS_HERE if "(" in text else frozenset()
    if "``" in _TOKEN.sub("", text):
        raise FormulaError(f"{text!r} has `` in it, a name of no letters: rename that column.")
    return _TOKEN.sub(lambda match: _aliased(match, words), text)


def _aliased(match: re.Match[str], words: frozenset[str]) -> str:
    token, after = match[0], match.string[match.end() :]
    if token in words and not after.startswith("."):  # as in as.factor(x) of R
        return alias(token)
    name = unquoted(token)
    is_text = token[0] in "'\""
    if is_text or (name == token and token.isascii() and not _means_more(token)):
        return token
    return name if name.isascii() and _is_plain(name) else alias(name)


def _means_more(name: str) -> bool:
    return name in _OTHER_MEANING or bool(_ALIAS.fullmatch(name))


def _is_plain(name: str) -> bool:
    """Whether a name needs no backticks to mean itself."""
    reserved = name in TRANSFORMS or name in CONSTANTS or keyword.iskeyword(name)
    return name.isidentifier() and not reserved and not _means_more(name)


def unquoted(text: str) -> str:
    """A name without the backticks around it; a doubled one within stands for one."""
    return text[1:-1].replace("``", "`") if len(text) > 1 and text[0] == text[-1] == "`" else text


def split_names(text: str) -> list[str]:
    """The names that ``*``, ``:`` or ``+`` join, still quoted, and any bar between them."""
    pieces = re.findall(r"`(?:[^`]|``)+`|[^`*:+|]+|\|", text)
    return [piece.strip() for piece in pieces if piece.strip()]


def split_at_colons(text: str) -> list[str]:
    """The names that colons join, without their backticks."""
    return [unquoted(name) for name in _COLON.split(text)]


def quoted(name: str) -> str:
    """A name between backticks."""
    doubled = name.replace("`", "``")
    return f"`{doubled}`"


def as_written(code: str) -> str:
    """A formula without aliases, which reads as the one with them."""
    return _ALIAS.sub(_as_needed, code)


def _as_needed(match: re.Match[str]) -> str:
    name = _spelled(match)
    return name if _is_plain(name) else quoted(name)


def shown(columns: Iterable[str]) -> tuple[str, ...]:
    """Names of terms, or of columns of a model matrix, without aliases.

    A column's name is shown as it is, where it could not be taken for anything else.
    """
    columns = list(columns)
    plain = [_ALIAS.sub(_bare_among_terms, column) for column in columns]
    if len(set(plain)) == len(plain):
        return tuple(plain)
    return tuple(_ALIAS.sub(lambda match: quoted(_spelled(match)), column) for column in columns)


def _bare_among_terms(match: re.Match[str]) -> str:
    before, after = match.string[: match.start()], match.string[match.end() :]
    among_terms = before[-1:] in ("", ":") and after[:1] in ("", ":", "[")
    name = _spelled(match)
    return name if among_terms and name not in _OTHER_MEANING else _as_needed(match)


def closed_up(text: str) -> str:
    """A formula with one space wherever it has white space, the names left as they are."""
    return _QUOTED_OR_SPACE.sub(lambda match: match[1] or " ", text).strip()
