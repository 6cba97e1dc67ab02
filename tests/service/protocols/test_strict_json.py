"""service.protocols.strict_json: one meaning or none. Over the wire: tests/bad_input/test_json_input.py."""

import pytest

from contract.errors import InvalidRequest
from service.protocols.strict_json import MAX_LEVELS, parse


def test_what_json_is() -> None:
    text = '{"a": [1, -2.5e3, true, null, "\\u00e4\\ud83d\\ude00", {}], "b": 999999999999999999}'
    assert parse(text.encode()) == {"a": [1, -2500.0, True, None, "ä😀", {}], "b": 999_999_999_999_999_999}


@pytest.mark.parametrize("levels", [MAX_LEVELS, MAX_LEVELS + 1])
def test_levels_are_counted(levels: int) -> None:
    body = b'{"a":' * levels + b"1" + b"}" * levels
    if levels == MAX_LEVELS:
        parse(body)
        return
    with pytest.raises(InvalidRequest, match="nested too deeply; at most 32"):
        parse(body)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"a": 1, "a": 1}', "same key twice"),
        (b'{"a": NaN}', "NaN or Infinity"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": 1000000000000000000}', "19 digits"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b'{"a": "\xff"}', "not UTF-8 .at byte 7"),
        (b'\xef\xbb\xbf{"a": 1}', "not valid JSON"),
        (b'{"a": 1} x', "not valid JSON .at character 9"),
        (b"[]", "no JSON object"),
    ],
)
def test_errors_say_what_is_wrong(body: bytes, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        parse(body)
