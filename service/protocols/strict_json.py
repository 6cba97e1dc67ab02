"""JSON that leaves nothing open: UTF-8, each key once, finite numbers of 64 bits, at most 32 levels. LINE B step 2.

Python's own reader takes NaN, 1e999, UTF-16, lone surrogates and 5000 digits, and keeps the last of two equal keys;
behind it each of them is a surprise: a 500 where it is answered, another value where two readers differ.
"""

import json
import math
import re
from collections.abc import Sequence
from typing import NoReturn

from contract.errors import InvalidRequest

MAX_LEVELS = 32
MAX_DIGITS = 18  # fits 64 bits
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # no UTF-8 has lone surrogates, PostgreSQL takes no NUL


def parse(body: bytes) -> dict[str, object]:
    """The JSON object in `body`.

    Raises:
        InvalidRequest: it is none, or one that two readers could read differently.
    """
    try:
        document = json.loads(
            body.decode(), object_pairs_hook=_object, parse_int=_whole, parse_float=_real, parse_constant=_refuse
        )
    except json.JSONDecodeError as error:
        raise InvalidRequest(f"The body is not valid JSON (at character {error.pos}).") from error
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The body is not UTF-8 (at byte {error.start}).") from error
    except RecursionError as error:
        raise _too_deep() from error
    if not isinstance(document, dict):
        raise InvalidRequest("The body is no JSON object; expected {...}.")
    _check(document, MAX_LEVELS)
    return document


def _object(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise InvalidRequest("The JSON has an object with the same key twice; expected each key once.")
    return members


def _whole(text: str) -> int:
    if len(text.lstrip("-")) > MAX_DIGITS:
        raise InvalidRequest(f"The JSON has a whole number of {len(text)} digits; at most {MAX_DIGITS} are accepted.")
    return int(text)


def _real(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise InvalidRequest("The JSON has a number that is too large; expected one within 1.7e308.")
    return number


def _refuse(_: str) -> NoReturn:
    raise InvalidRequest("The JSON has NaN or Infinity, which JSON does not know; expected a finite number.")


def _check(value: object, levels: int) -> None:
    """Raise InvalidRequest for too many levels, or text that cannot be stored."""
    if isinstance(value, str) and UNSTORABLE.search(value):
        raise InvalidRequest("The JSON has a text with a NUL or half a surrogate pair; expected characters only.")
    if not isinstance(value, dict | list):
        return
    if not levels:
        raise _too_deep()
    inner = [*value.keys(), *value.values()] if isinstance(value, dict) else value
    for each in inner:
        _check(each, levels - 1)


def _too_deep() -> InvalidRequest:
    return InvalidRequest(f"The JSON is nested too deeply; at most {MAX_LEVELS} levels are accepted.")
