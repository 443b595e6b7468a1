"""Templates of measures: what was measured, without its conversion to other units."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pipeline.data.datasets.formats.wikitext.numerals import grouped
from pipeline.data.records import HOLE

if TYPE_CHECKING:
    from pipeline.data.datasets.formats.wikitext.templates import Call

# code, symbol, name, plural; `_` is a blank
_UNIT_LIST = """
    mm mm millimetre millimetres; cm cm centimetre centimetres; dm dm decimetre decimetres
    m m metre metres; km km kilometre kilometres; in in inch inches; ft ft foot feet
    foot ft foot feet; yd yd yard yards; mi mi mile miles; nmi nmi nautical_mile nautical_miles
    um μm micrometre micrometres; μm μm micrometre micrometres; nm nm nanometre nanometres
    fathom fathom fathom fathoms; furlong furlong furlong furlongs; ch ch chain chains
    ly ly light-year light-years; pc pc parsec parsecs
    au au astronomical_unit astronomical_units; hand hand hand hands
    league league league leagues; mm2 mm² square_millimetre square_millimetres
    cm2 cm² square_centimetre square_centimetres; m2 m² square_metre square_metres
    km2 km² square_kilometre square_kilometres; sqmm mm² square_millimetre square_millimetres
    sqcm cm² square_centimetre square_centimetres; sqm m² square_metre square_metres
    sqkm km² square_kilometre square_kilometres; sqin sq_in square_inch square_inches
    sqft sq_ft square_foot square_feet; sqfoot sq_ft square_foot square_feet
    sqyd sq_yd square_yard square_yards; sqmi sq_mi square_mile square_miles
    acre acre acre acres; acres acre acre acres; ha ha hectare hectares
    cm3 cm³ cubic_centimetre cubic_centimetres; cc cc cubic_centimetre cubic_centimetres
    m3 m³ cubic_metre cubic_metres; km3 km³ cubic_kilometre cubic_kilometres
    cuft cu_ft cubic_foot cubic_feet; cuin cu_in cubic_inch cubic_inches
    cuyd cu_yd cubic_yard cubic_yards; cumi cu_mi cubic_mile cubic_miles
    ml mL millilitre millilitres; cl cL centilitre centilitres; l L litre litres
    impgal imp_gal imperial_gallon imperial_gallons; usgal US_gal US_gallon US_gallons
    impoz imp_fl_oz imperial_fluid_ounce imperial_fluid_ounces
    usoz US_fl_oz US_fluid_ounce US_fluid_ounces; pt pt pint pints; bbl bbl barrel barrels
    oilbbl bbl barrel barrels; acre.ft acre⋅ft acre-foot acre-feet; mg mg milligram milligrams
    g g gram grams; kg kg kilogram kilograms; t t tonne tonnes; tonne t tonne tonnes
    oz oz ounce ounces; lb lb pound pounds; lbs lb pound pounds; st st stone stone
    lt long_tons long_ton long_tons; st[us] short_tons short_ton short_tons; ton ton ton tons
    long_ton long_tons long_ton long_tons; short_ton short_tons short_ton short_tons
    ozt ozt troy_ounce troy_ounces; carat carat carat carats; oilbbl/d bbl/d barrel_per_day barrels_per_day; bbl/d bbl/d barrel_per_day barrels_per_day; gr gr grain grains
    km/h km/h kilometre_per_hour kilometres_per_hour
    kph km/h kilometre_per_hour kilometres_per_hour; mph mph mile_per_hour miles_per_hour
    m/s m/s metre_per_second metres_per_second; ft/s ft/s foot_per_second feet_per_second
    ft/min ft/min foot_per_minute feet_per_minute; kn kn knot knots; knot kn knot knots
    km/s km/s kilometre_per_second kilometres_per_second; c °C °C °C; f °F °F °F; k K K K
    °c °C °C °C; °f °F °F °F; c-change °C °C °C; w W watt watts; kw kW kilowatt kilowatts
    mw MW megawatt megawatts; gw GW gigawatt gigawatts; hp hp horsepower horsepower
    bhp bhp brake_horsepower brake_horsepower; shp shp shaft_horsepower shaft_horsepower
    ps PS metric_horsepower metric_horsepower; ihp ihp indicated_horsepower indicated_horsepower
    j J joule joules; kj kJ kilojoule kilojoules; mj MJ megajoule megajoules
    kwh kWh kilowatt-hour kilowatt-hours; cal cal calorie calories
    kcal kcal kilocalorie kilocalories; n N newton newtons; kn[force] kN kilonewton kilonewtons
    lbf lbf pound-force pounds-force; nm[torque] N⋅m newton-metre newton-metres
    n.m N⋅m newton-metre newton-metres; lbft lb⋅ft pound-foot pound-feet
    lb.ft lb⋅ft pound-foot pound-feet; lb-ft lb⋅ft pound-foot pound-feet; pa Pa pascal pascals
    kpa kPa kilopascal kilopascals; mpa MPa megapascal megapascals
    hpa hPa hectopascal hectopascals; bar bar bar bar; mbar mbar millibar millibars
    psi psi pound_per_square_inch pounds_per_square_inch
    inhg inHg inch_of_mercury inches_of_mercury; atm atm atmosphere atmospheres
    mpgus mpg mile_per_gallon miles_per_gallon; mpgimp mpg mile_per_gallon miles_per_gallon
    pd/sqmi per_square_mile inhabitant_per_square_mile inhabitants_per_square_mile
    pd/km2 /km² inhabitant_per_square_kilometre inhabitants_per_square_kilometre
    /sqmi per_square_mile per_square_mile per_square_mile
    /km2 /km² per_square_kilometre per_square_kilometre
    m3/s m³/s cubic_metre_per_second cubic_metres_per_second
    cuft/s cu_ft/s cubic_foot_per_second cubic_feet_per_second
    kg/m3 kg/m³ kilogram_per_cubic_metre kilograms_per_cubic_metre
    ft/mi ft/mi foot_per_mile feet_per_mile; hz Hz hertz hertz; khz kHz kilohertz kilohertz
    mhz MHz megahertz megahertz; ghz GHz gigahertz gigahertz; year year year years
    day d day days; h h hour hours; min min minute minutes; s s second seconds
"""
# Codes that mean something else in lower case.
_CASED = {"ST": "short_ton", "LT": "long_ton", "MT": "t", "kN": "kn[force]", "Nm": "nm[torque]"}
_COMBINED = {("ft", "in"), ("lb", "oz"), ("st", "lb"), ("yd", "ft"), ("mi", "yd"), ("mi", "ch")}
_BETWEEN = {
    "to": " to ",
    "-": "–",
    "–": "–",
    "and": " and ",
    "or": " or ",
    "x": " by ",
    "by": " by ",
    "xx": " × ",
    "×": " × ",
    "*": " × ",
    "+/-": " ± ",
    "±": " ± ",
    "to(-)": " to ",
    "and(-)": " and ",
    "to about": " to about ",
    "by(x)": " by ",
    ",": ", ",
    "+": " + ",
    "&": " and ",
}
_LARGE = {
    **dict.fromkeys(("e3", "k"), " thousand"),
    **dict.fromkeys(("e6", "M"), " million"),
    **dict.fromkeys(("e9", "G"), " billion"),
    "e12": " trillion",
}
_LARGE_UNIT = re.compile(r"(e3|e6|e9|e12|[kMG](?=(?:oil)?bbl))(.+)")
_FRACTION = re.compile(r"(?:([-−]?\d+)\+)?(\d+)(?:/|//)(\d+)")
_OUTPUT_ALONE = frozenset(
    ("out", "output only", "number", "output number only", "unit", "unit2", "unit or text")
)


def _units() -> dict[str, tuple[str, str, str]]:
    units = {}
    for entry in _UNIT_LIST.replace("\n", ";").split(";"):
        if columns := entry.split():
            code, *rest = (column.replace("_", " ") for column in columns)
            units[code.replace(" ", "_")] = (rest[0], rest[1], rest[2])
    return units


_UNITS = _units()


def convert(call: Call) -> str:
    """`100 kilometres`, for `{{convert|100|km|mi}}`; `100 km` where the call abbreviates."""
    if call.get("disp") in _OUTPUT_ALONE or call.get("adj") in ("pre", "ri0", "ri1"):
        return HOLE
    short = call.name == "cvt" or call.get("abbr") in ("on", "in", "y", "yes")
    adjective = call.get("adj") in ("on", "mid", "yes")
    tokens = call.positional
    amounts, rest = _range(tokens)
    text = _measure(amounts, rest[:1], short, adjective)
    if (*rest[:1], *rest[2:3]) in _COMBINED and (number := _number(rest[1])):
        text += " " + _measure([number], rest[2:3], short, adjective)
    if HOLE in text:
        return HOLE
    return text.replace("metre", "meter").replace("litre", "liter") if call.get("sp") else text


def height(call: Call) -> str:
    """`6 ft 1 in`, for `{{height|ft=6|in=1}}`."""
    parts = []
    for unit in ("ft", "in", "m", "cm"):
        if number := call.get(unit):
            parts.append(f"{number} {unit}")
    return " ".join(parts) or HOLE


def fraction(call: Call) -> str:
    """`1/2`, for `{{frac|2}}` and `{{frac|1|2}}`; `3 1/2` for `{{frac|3|1|2}}`."""
    match call.positional:
        case [below]:
            return f"1/{below}"
        case [above, below]:
            return f"{above}/{below}"
        case [whole, above, below]:
            return f"{whole} {above}/{below}"
    return HOLE


def value(call: Call) -> str:
    """`1.23 ± 0.05 km`, for `{{val|1.23|0.05|u=km}}`."""
    text = grouped(call.get("1")) or call.get("1")
    if not text:
        return HOLE
    if call.get("2"):
        text += f" ± {call.get('2')}"
    if call.get("e"):
        text += f" × 10^{call.get('e')}"
    unit = call.get("u", "ul")
    return call.get("p") + text + (f" {unit}" if unit else "") + call.get("s")


def duration(call: Call) -> str:
    """`4:20`, for `{{duration|m=4|s=20}}` and `{{duration|4:20}}`."""
    if call.get("1") and ":" in call.get("1"):
        return call.get("1")
    parts = [call.get("h", "1"), call.get("m", "2"), call.get("s", "3")]
    if not any(parts) or not all(part.isdecimal() and len(part) < 5 for part in parts if part):
        return HOLE
    hours, minutes, seconds = (int(part or 0) for part in parts)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def power_of_ten(call: Call) -> str:
    """` × 10^6`, for `{{e|6}}`."""
    if not call.get("1"):
        return HOLE
    return f"10^{call.get('1')}" if call.name == "10^" else f" × 10^{call.get('1')}"


def _range(tokens: list[str]) -> tuple[list[str], list[str]]:
    """The numbers at the start, with what stands between them, and the tokens that follow."""
    amounts: list[str] = []
    for index, token in enumerate(tokens):
        number = _BETWEEN.get(token.strip()) if index % 2 else _number(token)
        if not number:
            return amounts, tokens[index:]
        amounts.append(number)
    return amounts, []


def _number(token: str) -> str:
    """A number as it is written out; empty if it is none."""
    text = token.strip()
    if match := _FRACTION.fullmatch(text):
        whole, above, below = match.groups()
        return f"{whole} {above}/{below}" if whole else f"{above}/{below}"
    return grouped(text)


def _measure(amounts: list[str], code: list[str], short: bool, adjective: bool) -> str:
    scale, unit = _unit(code[0].strip()) if code else ("", None)
    if not amounts or unit is None:
        return HOLE
    symbol, name, plural = unit
    text = "".join(amounts) + scale
    if short:
        return f"{text} {symbol}"
    if adjective and name != plural:
        return f"{text}-{name.replace(' ', '-')}"
    return f"{text} {name if text == '1' or '/' in text and ' ' not in text else plural}"


def _unit(code: str) -> tuple[str, tuple[str, str, str] | None]:
    """The word of a large number in a code such as `e6km2`, and the unit."""
    scale = ""
    if match := _LARGE_UNIT.fullmatch(code):
        scale, code = _LARGE[match[1]], match[2]
    code = _CASED.get(code, code.lower().replace(" ", "_"))
    return scale, _UNITS.get(code)
