"""Text to HTML, everything escaped. `Html` marks what is markup already; every other string is foreign."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Html(str):
    """A string that is markup, not text."""

    __slots__ = ()


def text(value: object) -> Html:
    """Any text as harmless markup: escaped; control characters and lone surrogates become U+FFFD.

    `Html` is returned as it is.
    """
    if isinstance(value, Html):
        return value
    return Html(html.escape(_UNPRINTABLE.sub("\ufffd", str(value))))


def tag(name: str, *content: object, **attributes: object) -> Html:
    """`<name attributes>content</name>`, both escaped. `class_` gives `class`, other underscores become
    hyphens.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"' for key, value in attributes.items()
    )
    return Html(f"<{name}{written}>{''.join(text(part) for part in content)}</{name}>")


def join(parts: Sequence[object]) -> Html:
    """Parts one after the other, each escaped unless it is markup."""
    return Html("".join(text(part) for part in parts))


def table(head: Sequence[object], rows: Sequence[Sequence[object]], kind: str) -> Html:
    """A table whose first column names the row.

    kind: `results` (figures aligned to the right, the last row a total), `counts` (the same without a total)
    or `reasons` (the last column is prose).
    """
    top = tag("thead", tag("tr", *(tag("th", cell, scope="col") for cell in head)))
    lines = [
        tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:])) for row in rows
    ]
    return tag("div", tag("table", top, tag("tbody", *lines), class_=kind), class_="scroll")


def shortened(value: str, limit: int = 4000, where: str = "") -> Html:
    """Text in a box, cut after `limit` characters; what is missing is said."""
    rest = len(value) - limit
    note = tag("p", f"… {rest:,} more characters{where}", class_="note") if rest > 0 else Html("")
    return join([tag("pre", value[:limit]), note])


STYLE = """
:root { color-scheme: light dark; --paper: #fcfcfb; --card: #fff; --ink: #1d1f21; --soft: #6a6f75;
  --line: #e3e4e2; --mark: #2f6f8f; --good: #2d7d46; --bad: #b1492f; --code: #f4f4f2; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181a; --card: #1d2023; --ink: #e4e5e3;
  --soft: #989da3; --line: #32363a; --mark: #7cb8d4; --good: #7fc894; --bad: #e08a6d; --code: #22262a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1060px; margin: 0 auto; padding: 48px 28px 96px; }
h1 { font-size: 30px; line-height: 1.2; font-weight: 650; letter-spacing: -0.015em; margin: 0 0 6px; }
h2 { font-size: 20px; font-weight: 640; letter-spacing: -0.01em; margin: 52px 0 8px; }
h3 { font-size: 15px; font-weight: 620; margin: 0 0 6px; }
p { margin: 0 0 12px; max-width: 76ch; }
small { color: var(--soft); font-size: 12.5px; font-weight: 400; }
.lead, .note { color: var(--soft); } .note { font-size: 14px; }
.good { color: var(--good); } .bad { color: var(--bad); }
.scroll { overflow-x: auto; margin: 14px 0; }
table { border-collapse: collapse; font-size: 14.5px; font-variant-numeric: tabular-nums; }
th, td { padding: 7px 0 7px 26px; text-align: right; vertical-align: top;
  border-bottom: 1px solid var(--line); }
th:first-child { text-align: left; font-weight: 500; padding-left: 0; }
thead th { color: var(--soft); font-weight: 500; font-size: 13px; vertical-align: bottom; }
tbody tr:last-child > * { border-bottom: 0; }
table.results { min-width: 70%; }
table.results th, table.results td { white-space: nowrap; }
table.results tbody tr:last-child > * { font-weight: 650; border-top: 1px solid var(--soft); }
table.reasons { font-size: 13.5px; }
table.reasons th:last-child, table.reasons td:last-child { text-align: left; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 16px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 16px 18px;
  margin: 0 0 16px; }
.charts .card { margin: 0; padding: 12px 14px 8px; }
.chart { display: block; width: 100%; height: auto; } .chart text { fill: var(--soft); font-size: 11px; }
.chart .grid { stroke: var(--line); } .chart .dot { fill: var(--mark); }
.chart .raw { stroke: var(--mark); opacity: .3; fill: none; stroke-width: 1; }
.chart .smooth { stroke: var(--mark); fill: none; stroke-width: 2; stroke-linejoin: round; }
.value { float: right; color: var(--soft); font-weight: 400; font-size: 13px; }
.strip { display: grid; grid-template-columns: repeat(8, 1fr); gap: 4px; margin: 0 0 14px; }
.strip img { width: 100%; display: block; border-radius: 4px; }
.maps { display: flex; flex-wrap: wrap; gap: 20px; margin: 10px 0 8px; } figure { margin: 0; }
.maps img { display: block; width: 240px; max-width: 100%; background: #fff; border-radius: 6px; }
.maps .none { width: 240px; height: 240px; border: 1px dashed var(--line); border-radius: 6px; display: grid;
  place-items: center; text-align: center; color: var(--soft); font-size: 14px; padding: 20px; }
figcaption { color: var(--soft); font-size: 13px; padding-bottom: 4px; }
pre { background: var(--code); border-radius: 6px; padding: 12px 14px; margin: 8px 0; white-space: pre-wrap;
  font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace;
  overflow-wrap: anywhere; max-height: 420px; overflow-y: auto; }
details > summary { cursor: pointer; color: var(--soft); font-size: 14px; }
footer { margin-top: 64px; color: var(--soft); font-size: 13px; border-top: 1px solid var(--line);
  padding-top: 16px; }
"""


def page(title: str, body: Html) -> str:
    """The whole document: no script may run in it and nothing is asked of any server."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>{text(title)}</title><style>{STYLE}</style>"
    )
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body><main>\n{body}\n</main></body></html>\n'
    )
