"""Search for parts of words, in any script.

SQLite finds words of three characters and more in an index of trigrams. Shorter words, and all words on PostgreSQL, are
looked for in every product, so their number and the CPU time of a search are bounded.
"""

from sqlalchemy import ColumnElement, Select, or_, select

from read_api.tables import PRODUCT_SEARCH, PRODUCTS, SEARCHED_COLUMNS
from shared.chassis.http.problems import BadRequest, FieldError
from shared.chassis.storage.reader import QueryTooExpensive, Reader, ResultRows

MAX_CHARACTERS = 200
MIN_INDEXED_LENGTH = 3
"""Shorter words have no trigram."""
MAX_SHORT_WORDS = 4
"""Japanese words are often this short."""
MAX_CPU_SECONDS = 1.0


def distinct_words(text: str) -> list[str]:
    """The words in `text`, each once; characters that cannot be printed separate words, as spaces do."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return list(dict.fromkeys(printable.split()))


def product_matches(text: str, dialect: str) -> list[ColumnElement[bool]]:
    """The conditions that every word of `text` occurs in a product. Raises BadRequest for too many short words."""
    words = distinct_words(text)
    short = [word for word in words if len(word) < MIN_INDEXED_LENGTH]
    if len(short) > MAX_SHORT_WORDS:
        message = f"at most {MAX_SHORT_WORDS} different words of fewer than {MIN_INDEXED_LENGTH} characters"
        raise BadRequest(FieldError(field="q", message=message))
    indexed = [word for word in words if word not in short and dialect == "sqlite"]
    conditions = [_occurs(word) for word in words if word not in indexed]
    if indexed:
        conditions.append(_is_indexed_under(indexed))
    return conditions


async def fetch_search(
    reader: Reader, query: Select[tuple[object, ...]], cpu_seconds: float = MAX_CPU_SECONDS
) -> ResultRows:
    """The rows of a search. Raises BadRequest if it takes more CPU time than this, whether its client waits or not."""
    try:
        return await reader.fetch_within(cpu_seconds, query)
    except QueryTooExpensive as error:
        message = "this search takes too long: use fewer or longer words"
        raise BadRequest(FieldError(field="q", message=message)) from error


def _occurs(word: str) -> ColumnElement[bool]:
    return or_(*(text.icontains(word, autoescape=True) for text in SEARCHED_COLUMNS))


def _is_indexed_under(words: list[str]) -> ColumnElement[bool]:
    phrases = " ".join('"{}"'.format(word.replace('"', '""')) for word in words)
    matching = select(PRODUCT_SEARCH.c.rowid).where(
        PRODUCT_SEARCH.c.product_search.op("MATCH")(phrases)
    )
    return PRODUCTS.c.number.in_(matching)
