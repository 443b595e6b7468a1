"""What a reader sees of a template inside a sentence.

A dump has calls of templates, not what they expand to. Those that carry a text (names in another
language, measures, dates, dashes) are rendered here, as Wikipedia does but without links, fonts and
converted values. Footnotes and remarks for editors have no text. All others leave HOLE.
"""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.data.datasets.formats.wikitext import dates, measures, names
from pipeline.data.datasets.formats.wikitext.numerals import grouped, ordinal
from pipeline.data.records import HOLE


@dataclass(frozen=True)
class Call:
    """A call of a template: its normalized name, and its arguments as text by name or number."""

    name: str
    arguments: dict[str, str]

    def get(self, *keys: str) -> str:
        """The first argument of these that is not empty, else an empty string."""
        for key in keys:
            if text := self.arguments.get(key, ""):
                return text
        return ""

    @property
    def positional(self) -> list[str]:
        """The arguments 1, 2, ... up to the first that is missing."""
        texts: list[str] = []
        while (key := str(len(texts) + 1)) in self.arguments:
            texts.append(self.arguments[key])
        return texts


def normalized(name: str) -> str:
    """A template's name as the tables here have it: lower case, single blanks, no namespace."""
    words = name.replace("_", " ").lower().removeprefix("template:").split()
    return " ".join(words)


def is_silent(name: str) -> bool:
    """Whether a template of this normalized name has no text in a sentence."""
    return (
        name in names.SILENT
        or name.startswith(names.SILENT_STARTS)
        or name.endswith(names.SILENT_ENDS)
    )


def renderer(name: str) -> Callable[[Call], str] | None:
    """What renders a template of this normalized name; None if that is not known."""
    if name.startswith("lang-") or name == "langx":
        return _labeled_language
    if ":" in name:
        return _PARSER_FUNCTIONS.get(name.partition(":")[0])
    return _RENDERERS.get(name)


def _argument(*keys: str) -> Callable[[Call], str]:
    """Renders the first of these arguments that is there."""
    return lambda call: call.get(*keys) or HOLE


def _constant(text: str) -> Callable[[Call], str]:
    return lambda call: text


def _joined(separator: str) -> Callable[[Call], str]:
    return lambda call: separator.join(filter(None, call.positional)) or HOLE


def _enclosed(before: str, after: str) -> Callable[[Call], str]:
    return lambda call: f"{before}{call.get('1') or HOLE}{after}"


def _last(call: Call) -> str:
    return call.positional[-1] if call.positional else HOLE


def _paragraph(call: Call) -> str:
    """A quotation set apart."""
    return f"\n{call.get('text', 'quote', '1', 'quotetext', 'content') or HOLE}\n"


def _side_quote(call: Call) -> str:
    """The quotation after the side on which it stands."""
    return f"\n{call.get('quote', 'text', '2') or HOLE}\n"


def _labeled_language(call: Call) -> str:
    """`French: Mont Blanc`, for `{{lang-fr|Mont Blanc}}` and `{{langx|fr|Mont Blanc}}`."""
    _, _, code = call.name.partition("-")
    text = call.get("1", "text") if code else call.get("2", "text")
    language = names.LANGUAGES.get((code or call.get("1")).split("-")[0])
    if not text:
        return HOLE
    return text if language is None or call.get("label") == "none" else f"{language}: {text}"


def _currency(symbol: str) -> Callable[[Call], str]:
    return lambda call: symbol + call.get("1")


def _currency_by_code(call: Call) -> str:
    symbol = names.CURRENCIES.get(call.get("2", "type").lower() or "usd")
    return symbol + call.get("1") if symbol and call.get("1") else HOLE


def _rupees(call: Call) -> str:
    unit = {"": "", "c": " crore", "l": " lakh", "m": " million", "b": " billion"}
    scale = unit.get(call.get("2"))
    return HOLE if scale is None or not call.get("1") else f"₹{call.get('1')}{scale}"


def _ship(call: Call) -> str:
    """`HMS Victory`, for `{{HMS|Victory|1765}}`."""
    return f"{call.name.upper()} {call.get('1')}" if call.get("1") else HOLE


def _ship_of_kind(call: Call) -> str:
    kind, name = call.get("1"), call.get("2")
    return f"{kind} {name}".strip() if name else HOLE


def _ship_class(call: Call) -> str:
    name, kind = call.get("1"), call.get("2")
    return f"{name}-class {kind}" if name and kind else HOLE


def _flag(call: Call) -> str:
    """The name of a country; short ones are codes, whose names are not here."""
    name = call.get("name", "1")
    return name if len(name) > 3 else HOLE


def _japanese(call: Call) -> str:
    return call.get("1", "3") or HOLE


def _misspelled(call: Call) -> str:
    return "".join(call.positional[:2])


def _accidental(call: Call) -> str:
    return {"sharp": "♯", "flat": "♭", "natural": "♮"}.get(call.get("1"), HOLE)


def _nuclide(call: Call) -> str:
    element, mass = call.get("1"), call.get("2")
    return f"{element}-{mass}" if element and mass else HOLE


def _verse(call: Call) -> str:
    return " ".join(filter(None, call.positional[:2])) or HOLE


def _formatted_number(call: Call) -> str:
    """`1,234`, for `{{formatnum:1234}}`."""
    number = call.name.partition(":")[2].strip()
    return number if call.get("1").lower() == "r" else grouped(number) or HOLE


def _ordinal(call: Call) -> str:
    return ordinal(call.get("1")) or HOLE


_PARSER_FUNCTIONS: dict[str, Callable[[Call], str]] = {"formatnum": _formatted_number}


def _all_renderers() -> dict[str, Callable[[Call], str]]:
    table: dict[str, Callable[[Call], str]] = {}
    for keys, group in names.ARGUMENTS.items():
        table |= dict.fromkeys(group, _argument(*keys))
    for text, group in names.CONSTANTS.items():
        table |= dict.fromkeys(group, _constant(text))
    for separator, group in names.JOINED.items():
        table |= dict.fromkeys(group, _joined(separator))
    for pair, group in names.ENCLOSED.items():
        table |= dict.fromkeys(group, _enclosed(*pair))
    for code, symbol in names.CURRENCIES.items():
        table[code] = _currency(symbol)
    for render, group in _GROUPS:
        table |= dict.fromkeys(group, render)
    return table


_GROUPS: tuple[tuple[Callable[[Call], str], tuple[str, ...]], ...] = (
    (_last, names.LAST_ARGUMENT),
    (_paragraph, names.QUOTATIONS),
    (_side_quote, ("rquote", "pull quote right")),
    (_ship, names.SHIPS),
    (_ship_of_kind, ("ship",)),
    (_ship_class, ("sclass", "sclass-", "sclass2", "sclass2-")),
    (_flag, ("flag", "flagu", "flagcountry", "flaglist", "flag country")),
    (_japanese, ("nihongo", "nihongo2", "nihongo3", "nihongo krt")),
    (_misspelled, ("sic", "typo")),
    (_accidental, ("music",)),
    (_nuclide, ("nuclide", "simplenuclide")),
    (_verse, ("bibleverse", "bibleref", "bibleref2", "bible verse")),
    (_currency_by_code, ("currency", "money")),
    (_rupees, ("inrconvert",)),
    (_ordinal, ("ordinal", "nth", "ordinal number")),
    (dates.day, names.DAYS),
    (dates.written_out, ("birth-date", "death-date", "birth-date and age", "death-date and age")),
    (dates.year, ("birth year and age", "death year and age", "birth year", "death year")),
    (dates.as_of, ("as of", "as-of", "asof")),
    (dates.about, ("circa", "c.", "ca.", "circ")),
    (dates.span("fl."), ("floruit", "fl.", "fl")),
    (dates.span("r."), ("reign", "r.")),
    (measures.convert, ("convert", "conv", "cvt", "convinfobox")),
    (measures.height, ("height",)),
    (measures.fraction, ("frac", "fraction", "sfrac", "fract")),
    (measures.value, ("val",)),
    (measures.duration, ("duration",)),
    (measures.power_of_ten, ("e", "10^", "x10^")),
)
_RENDERERS = _all_renderers()
