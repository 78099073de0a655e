"""Reading maps: strict, published, and any hostile text."""

from __future__ import annotations

import ast
import json
import string
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tolman.cogmap import CognitiveMap, extract_map_text, map_text, parse_map, score_map
from tolman.cogmap.literal import MAX_CHARS, LiteralError, Pairs, parse_literal

ROOM = ("chair", "ceiling light", "light")
names = (
    st.text(string.ascii_lowercase + " é", min_size=1, max_size=12)
    .map(lambda s: " ".join(s.split()))
    .filter(len)
)
cells = st.tuples(st.integers(0, 9), st.integers(0, 9))
maps = st.dictionaries(names, st.lists(cells, max_size=5), max_size=6).map(CognitiveMap.of)


def test_published_rule_agrees_with_spacer_on_every_row(shared_data: Path) -> None:
    rows = (shared_data / "scorers" / "spacer_map__published.jsonl").read_text().splitlines()
    assert len(rows) >= 360
    for row in map(json.loads, rows):
        parsed = parse_map(row["map_text"], row["truth"], rule="published")
        assert parsed.map is not None
        assert parsed.map.to_dict() == row["parsed"], row
        score = score_map(parsed.map, CognitiveMap.of(row["truth"]), rule="published")
        assert score == pytest.approx(row["score"], abs=1e-12), row


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("str{{'chair': [[1, 2]]}}", {"chair": [[1, 2]]}),  # the wrapper itself, with a dict inside
        ("{'<chair}:': [[1, 2]], 'Chair': [[3, 4]]}", {"chair": [[1, 2], [3, 4]]}),  # cleaned keys add up
        ("{'chair': [[1, 2]], 'chair': [[3, 4]]}", {"chair": [[3, 4]]}),  # the same key: the last one stands
        ("{'chair': (1, 2)}", {"chair": [[1, 2]]}),  # one tuple is a position, one list is not
        ("{'chair': [1, 2]}", {}),
        ("{'chair': [[[1, 2]]]}", {"chair": [[1, 2]]}),  # one bracket too many
        ("{'chair': '1 and 2'}", {"chair": [[1, 2]]}),  # a string with two numbers, here not even in a list
        ("{'chair': [['<5>', '(-4.9)']]}", {"chair": [[5, -4]]}),
        ("{'chair': [[True, 2.9], [None, 1], [1, 2, 3]]}", {"chair": [[1, 2]]}),
        ("{'chair': [[-0.5, 1e1]]}", {"chair": [[0, 10]]}),  # int() cuts towards zero
        ("{'chair': [['nan', 1]]}", {}),
        (
            "{'chair': [[1e999, 1]]}",
            {"chair": [[1, 999]]},
        ),  # int(inf) fails, so the text is searched: 1, 999, 1
        ("{'chair': [[1, 2]], 'x': y}", {"chair": [[1, 2]]}),  # no literal, so the text is searched
        ("chair 1 2 3", {"chair": [[1, 2]]}),  # the odd number is dropped
        ("chair costs 5 or 6", {"chair": [[5, 6]]}),
        ("armchair (1, 2)", {}),  # whole words only
        ("chair2 (3, 4)", {"chair": [[2, 3]]}),  # a digit does not end a word, and counts as a number
        ("ceiling light (1, 2) light (3, 4)", {"ceiling light": [[1, 2]], "light": [[3, 4]]}),
        ("CHAIR (1, -2)", {"chair": [[1, -2]]}),
        ("   ", {}),
    ],
)
def test_published_rule_in_cases_beyond_the_rows(text: str, expected: dict[str, list[list[int]]]) -> None:
    parsed = parse_map(text, ROOM, rule="published")
    assert parsed.map is not None
    assert parsed.map.to_dict() == expected


def test_published_parser_that_raises_gives_no_map() -> None:
    parsed = parse_map(
        f"chair {'9' * 400} 1", ROOM, rule="published"
    )  # float("999…") is inf, int(inf) raises
    assert parsed.map is None
    assert "OverflowError" in parsed.reason


def test_published_rule_never_matches_a_category_with_a_capital() -> None:
    parsed = parse_map('{"Chair": [[1, 2]]}', ["Chair"], rule="published")
    assert parsed.map is not None
    assert parsed.map.to_dict() == {"chair": [[1, 2]]}
    assert score_map(parsed.map, CognitiveMap.of({"Chair": [[1, 2]]}), rule="published") == 0
    strict = parse_map('{"CHAIR": [[1, 2]]}', ["Chair"])
    assert strict.map == CognitiveMap({"Chair": ((1, 2),)})


@pytest.mark.parametrize(
    "text",
    [
        '{"chair": [[1, 2], [3, 4.5]], "tv": []}',
        "{'chair': [(1, 2), (3, 4.5)], 'tv': []}",
        '\n{ "chair" : [\n[1,2],\n[3,4.5],\n],\n"tv":[] ,}\n',
        '{"Chair ": [[+1, 2], [3, 4.5]], "TV": []}',
    ],
)
def test_strict_rule_reads_json_and_python(text: str) -> None:
    assert parse_map(text).map == CognitiveMap({"chair": ((1, 2), (3, 4.5)), "tv": ()})


def test_strict_rule_keeps_categories_that_were_not_asked_for() -> None:
    parsed = parse_map('{"piano": [[1, 2]], "ceiling  LIGHT": [[3, 4]]}', ROOM)
    assert parsed.map == CognitiveMap({"piano": ((1, 2),), "ceiling light": ((3, 4),)})


FLAWED = {
    "": "expected a value",
    "nonsense": "expected a value",
    "[[1, 2]]": "not a dict",
    "None": "not a dict",
    '{"chair"}': "not a dict",
    '{"chair": [1, 2]}': "positions [x, y]",
    '{"chair": [[1, 2, 3]]}': "positions [x, y]",
    '{"chair": [["1", "2"]]}': "not a number",
    '{"chair": [[true, 1]]}': "expected a value",
    "{'chair': [[True, 1]]}": "not a number",
    '{"chair": [[NaN, 1]]}': "expected a value",
    '{"chair": [[1e999, 1]]}': "beyond",
    '{"chair": [[1, 99999999999999999999]]}': "beyond",
    '{"chair": {"x": 1}}': "needs a list",
    '{"chair": "1 2"}': "needs a list",
    '{"chair": [[1, 2]], "Chair": [[3, 4]]}': "stands twice",
    '{"chair": [[1, 2]]': "expected",
    '{"chair": [[1, 2]]} and more': "after the literal",
    '{"chair": [[007, 2]]}': "leading zeros",
    '{"chair": [[1+1, 2]]}': "expected",
    "{1: [[1, 2]]}": "must be a string",
    '{" ": [[1, 2]]}': "readable name",
    '{"\\ud800": [[1, 2]]}': "readable name",
    '{"' + "a" * 101 + '": [[1, 2]]}': "at most 100",
    "{[1]: 2}": "a list, a set or a dict",
    "{'chair': __import__('os').system('true')}": "expected a value",
}


@pytest.mark.parametrize("text", FLAWED)
def test_strict_rule_says_what_is_wrong(text: str) -> None:
    parsed = parse_map(text)
    assert parsed.map is None
    assert FLAWED[text] in parsed.reason


MILLION = 1_000_000
HOSTILE = [
    "[" * MILLION,
    "9" * MILLION,
    '{"a":' * MILLION,
    "{'chair': [[" + "9" * 7_900 + ", 1]]}",
    "{'chair': [" + "[1,2]," * 1_300 + "]}",
    "{" + ",".join(f"'c{k}': [[1,2]]" for k in range(500)) + "}",
    "{'chair': " + "[" * 199 + "]" * 199 + "}",
    "{'chair': " + "[" * 3_900 + "]" * 3_900 + "}",
    "{'chair': " + "(" * 190 + "1" + ")" * 190 + "}",
    "{'" + "\\" * 7_900 + "'}",
    "{" + "'a'" * 2_600 + "}",
    "{'''" + "'" * 7_900 + "}",
    "{" + "#" * 7_900 + "}",
    "{" + " " * 7_900 + "}",
    "{" + "\\N{" * 2_600 + "}",
    "{-" * 3_900 + "}",
    "{chair" + " chair" * 1_300 + "}",
    "chair " + "1." * 3_900,
    "chair" + "-" * 7_900,
    "\0" * 7_900,
    "\ud800" * 7_900,
    "{'\U0001f4a9' : [[\u0661, \u0662]]}",
    "\u202e" * 7_900,
]


@pytest.mark.parametrize("rule", ["strict", "published"])
@pytest.mark.parametrize("k", range(len(HOSTILE)))
def test_hostile_text_is_read_or_refused(k: int, rule: str) -> None:
    parsed = parse_map(HOSTILE[k], ROOM, rule=rule)
    assert parsed.map is not None or parsed.reason
    assert len(parsed.reason) < 300


@given(st.text(max_size=300) | st.text("{}[](),:'\"\\-+.0123456789eExchair \n#", max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_text_gives_a_map_or_a_reason(text: str) -> None:
    for rule in ("strict", "published"):
        parsed = parse_map(text, ROOM, rule=rule)
        if parsed.map is None:
            assert parsed.reason
        elif rule == "strict":
            assert parsed.map.size <= 500
            json.dumps(parsed.map.to_dict()).encode()
    for rule in ("strict", "published"):
        extract_map_text(text, rule)


literals = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.binary(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=3)
    ),
    max_leaves=12,
)


def _plain(value: object) -> object:
    if isinstance(value, Pairs):
        return {key: _plain(each) for key, each in value}
    if isinstance(value, list | tuple):
        return type(value)(_plain(each) for each in value)
    return value


@given(st.dictionaries(st.text(max_size=4), literals, max_size=4))
@settings(max_examples=200, deadline=None)
def test_every_literal_is_read_back(value: dict[str, object]) -> None:
    text = repr(value)
    if len(text) <= MAX_CHARS:
        assert _plain(parse_literal(text)) == value


PIECES = [
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    ",",
    ":",
    "'a'",
    '"b"',
    "1",
    "-2",
    "007",
    "00",
    "1.5",
    ".5",
    "1e3",
    "0x1F",
]
PIECES += [
    "1_0",
    "1__0",
    "None",
    "...",
    "set()",
    " ",
    "\n",
    "#c\n",
    "r'\\n'",
    "b'x'",
    "'\\x41'",
    "'\\u0041'",
    "'''",
]
PIECES += [
    "''",
    "'",
    "'\\N{EM DASH}'",
    "u'q'",
    "f'z'",
    "'\\101'",
    "'\\q'",
    "a",
    "é",
    "b'é'",
    "'\\\n'",
    "\r\n",
]


@given(st.lists(st.sampled_from(PIECES), max_size=12))
@settings(max_examples=500, deadline=None)
def test_literals_are_those_of_python(pieces: list[str]) -> None:
    text = "{" + "".join(pieces) + "}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = ast.literal_eval(text)
    except (SyntaxError, ValueError, TypeError):
        with pytest.raises(LiteralError):
            parse_literal(text)
        return
    assert repr(_plain(parse_literal(text))) == repr(expected)


@given(maps)
@settings(max_examples=100, deadline=None)
def test_both_rules_read_back_what_we_write(drawn: CognitiveMap) -> None:
    told = {name: sorted(points) for name, points in drawn.to_dict().items()}
    parsed = parse_map(map_text(drawn))
    assert parsed.map is not None
    assert parsed.map.to_dict() == told
    published = parse_map(map_text(drawn), drawn.positions, rule="published").map
    assert published is not None
    assert published.to_dict() == {name: points for name, points in told.items() if points}


def test_map_text_is_json_with_sorted_categories_and_places() -> None:
    drawn = CognitiveMap({"tv": ((1, 2),), "chair": ((3.0, 4.25), (3, 1), (0, 9))})
    assert map_text(drawn) == '{"chair": [[0, 9], [3, 1], [3, 4.25]], "tv": [[1, 2]]}'
    assert map_text(CognitiveMap({"tv": ((1.23456, 2.0),)}, grid=None)) == '{"tv": [[1.23, 2]]}'


@pytest.mark.parametrize(
    ("completion", "published", "strict"),
    [
        ("<think><map> 1 </map></think><answer>2</answer>", "1", "1"),
        ("<think><map>1</map> no, <map>2</map></think>", "1", "2"),
        ("<think>x</think><map>1</map>", "1", None),
        ("<map>1</map><think>x</think>", "1", None),
        ("<think><map>1</map><map>2</think>", "1", "1"),
        ("<think><map>1<map>2</map></think>", "1<map>2", "2"),
        ("<think></map><map></think>", None, None),
        ("<think><map>1</map>", "1", None),
        ("", None, None),
    ],
)
def test_which_map_of_a_completion_counts(completion: str, published: str | None, strict: str | None) -> None:
    assert extract_map_text(completion, "published").text == published
    assert extract_map_text(completion, "strict").text == strict


def test_bad_options_are_refused() -> None:
    with pytest.raises(ValueError, match="strict, published"):
        parse_map("{}", rule="lenient")
    with pytest.raises(ValueError, match="categories"):
        parse_map("{}", rule="published")
    with pytest.raises(ValueError, match="'strict' or 'published'"):
        extract_map_text("", "last")
    with pytest.raises(ValueError, match="two finite numbers"):
        CognitiveMap.of({"chair": [[1, 2, 3]]})
    with pytest.raises(ValueError, match="two finite numbers"):
        CognitiveMap({"chair": ((float("nan"), 1),)})
