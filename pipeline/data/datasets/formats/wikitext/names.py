"""Names of templates, in groups by what they show."""


def _names(text: str) -> tuple[str, ...]:
    """The names of a list that is separated by commas or lines."""
    names = (" ".join(name.split()) for name in text.replace("\n", ",").split(","))
    return tuple(filter(None, names))


# By the arguments of which the first that is there is shown.
ARGUMENTS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("1", "text"): _names(
        """nowrap, nobr, nwr, small, smaller, smalldiv, big, larger, large, resize, abbr, abbrlink,
        define, tooltip, sub, sup, smallcaps, sc, sc1, sc2, scaps, var, mvar, math, em, strong, bold,
        italic, italics, b, i, u, underline, strike, s, tt, mono, code, kbd, samp, nobold, noitalic,
        center, centre, block indent, blockindent, vanchor, visible anchor, vanc, not a typo,
        notatypo, as written, proper name, crossref, crossreference, chem2, unicode, polytonic,
        hebrew, script/hebrew, script/arabic, script/greek, script/latin, nastaliq, rtl, ltr,
        stn, rws, stnlnk, lrt, plainlist, flatlist, plain list, 
        no italic, no bold, upright, roman, dfn, noredirect, no redirect, section link,
        slink, annotated link, wdl, wikidata fallback link, link language, nolink, plain link, delink,
        avoid wrap, no wrap, nowraplinks, overline, overbar, 
        abbreviation"""
    ),
    ("lt", "1"): _names("ill, illm, interlanguage link, interlanguage link multi, link-interwiki"),
    ("2", "text"): _names(
        """lang, color, colour, font color, fontcolor, background color, font colour, h:title, hover title,
        title tip, script, rtl-lang, wikt-lang, align, aligned, wt, sans, m, audio"""
    ),
    ("text", "1"): _names("font, style, raise, lower, span, rotate text"),
}
LAST_ARGUMENT = _names("transl, transliteration, translit, tlit, xlit, asiantitle")
QUOTATIONS = _names(
    """quote, quotation, blockquote, block quote, bq, cquote, centered pull quote, pull quote, poem,
    poemquote, poem quote, verse, quoteblock, bquote, long quote, quote frame, inline quote"""
)
CONSTANTS: dict[str, tuple[str, ...]] = {
    " ": _names(
        """nbsp, sp, space, spaces, thinsp, thin space, hair space, hairspace, hsp, tsp, ensp, emsp,
        en space, em space, figure space, non breaking space, narrow no-break space, pad, gap, indent"""
    ),
    " – ": _names(
        """snd, snds, spnd, sndash, spaced ndash, spaced en dash, spaced endash, spndash, dash, nsnd,
        nsndns, nbspndash, en dash space"""
    ),
    " — ": _names("smd, spaced mdash, spaced em dash, smdash, snmdash"),
    "–": _names("ndash, endash, en dash, –, dash-"),
    "—": _names("mdash, emdash, em dash, —, --"),
    "-": _names("hyphen, nbhyph, nbhyphen, nb hyphen, non breaking hyphen"),
    "": _names("zwsp, zwj, zwnj, shy, wbr, nowrap begin, nowrap end, void, nobreak"),
    " · ": _names("·, dot, middot, bull, bullet, •, int, dotsep"),
    "'": _names("', apostrophe, `"),
    "'s": _names("'s, `s"),
    "s'": _names("s'"),
    '"': _names('", quotation mark'),
    "|": _names("!, pipe"),
    "=": _names("=, equal"),
    "°": _names("degree, deg, degrees"),
    "×": _names("times, ×, x"),
    "−": _names("minus, −"),
    "±": _names("plus-minus, ±, plusminus"),
    "π": _names("pi"),
    "φ": _names("phi"),
    "∞": _names("infinity, infin"),
    "ʻ": _names("okina, ʻ, ‘okina"),
    "ʿ": _names("ayin"),
    "ʾ": _names("hamza, aleph"),
    "♯": _names("sharp, music sharp"),
    "♭": _names("flat, music flat"),
    "♮": _names("natural"),
    "½": _names("half, 1/2"),
    "CO2": _names("co2"),
    "H2O": _names("h2o"),
    "&": _names("amp, ampersand, &"),
    "#": _names("number sign, hash"),
    "&c.": _names("&c."),
    "†": _names("dagger, †"),
    "‡": _names("double dagger, double-dagger, ddagger, ‡"),
    "§": _names("section sign, §"),
    "No.": _names("no., numero, number"),
    "'\"": _names("' \", '\""),
    "\"'": _names("\" ', \"'"),
}
JOINED: dict[str, tuple[str, ...]] = {
    "": _names("chem, linktext, gaps, nobr join"),
    ", ": _names("hlist, ubl, unbulleted list, comma separated entries, cslist, csv, ubt, blist"),
    " + ": _names("key press, keypress, key, keys, keyboard"),
    "/": _names("slash"),
}
ENCLOSED: dict[tuple[str, str], tuple[str, ...]] = {
    ("⟨", "⟩"): _names("angbr, angle bracket, angle brackets, grapheme, orthography, abr"),
    ("[", "]"): _names("bracket, brackets, interp, interpolation"),
    ("'", "'"): _names("gloss, single quote"),
    ("lit. '", "'"): _names("lit, literal, literally, literal translation, lit."),
    ("√", ""): _names("sqrt, radic"),
    ("|", "|"): _names("abs"),
}
CURRENCIES = {
    **dict.fromkeys(("us$", "usd", "usdollar"), "US$"),
    **dict.fromkeys(("inr", "₹", "indian rupee", "indian rupees", "rupee", "rs", "rs."), "₹"),
    **dict.fromkeys(("gbp", "£", "pound", "pound sterling", "gbp£"), "£"),
    **dict.fromkeys(("eur", "€", "euro", "euros"), "€"),
    **dict.fromkeys(("a$", "aud", "au$"), "A$"),
    **dict.fromkeys(("c$", "cad", "can$", "ca$"), "C$"),
    **dict.fromkeys(("nz$", "nzd"), "NZ$"),
    **dict.fromkeys(("hk$", "hkd"), "HK$"),
    **dict.fromkeys(("s$", "sgd"), "S$"),
    **dict.fromkeys(("nt$", "twd"), "NT$"),
    **dict.fromkeys(("r$", "brl"), "R$"),
    **dict.fromkeys(("mxn", "mx$"), "MX$"),
    **dict.fromkeys(("jpy", "¥", "yen"), "¥"),
    **dict.fromkeys(("cny", "rmb", "cn¥"), "CN¥"),
    **dict.fromkeys(("krw", "₩", "south korean won"), "₩"),
    **dict.fromkeys(("php", "₱", "philippine peso"), "₱"),
    **dict.fromkeys(("ils", "₪", "nis"), "₪"),
    **dict.fromkeys(("rub", "₽", "rur"), "₽"),
    **dict.fromkeys(("try", "₺"), "₺"),
    **dict.fromkeys(("ngn", "₦", "naira"), "₦"),
    **dict.fromkeys(("uah", "₴"), "₴"),
    **dict.fromkeys(("bdt", "৳"), "৳"),
    **dict.fromkeys(("chf", "swiss franc"), "CHF\xa0"),
    **dict.fromkeys(("zar",), "R"),
    **dict.fromkeys(("¢", "cent"), "¢"),
}
SHIPS = _names(
    """hms, uss, ss, ms, rms, hmas, hmcs, hmnzs, smu, sms, mv, mv, ins, usns, usat, uscgc, rfa, hnlms,
    hdms, hswms, css, rmas, hmt, hmhs, hmy, hmis, hmsas, mts, mts, ps, rv, st, ts, ns, tss, gts, usrc"""
)
DAYS = _names(
    """birth date, birth date and age, birth date and given age, bda, dob, birthdate, death date,
    death date and age, death date and given age, dda, dod, start date, start date and age, end date,
    end date and age, film date, release date, opening date, birth date2, date, start-date, end-date,
    bda-nolink, published date, first date, launch date"""
)
LANGUAGES = {
    "af": "Afrikaans", "ang": "Old English", "ar": "Arabic", "az": "Azerbaijani",
    "be": "Belarusian", "bg": "Bulgarian", "bn": "Bengali", "bo": "Tibetan", "br": "Breton",
    "bs": "Bosnian", "ca": "Catalan", "cs": "Czech", "cy": "Welsh", "da": "Danish",
    "de": "German", "el": "Greek", "en": "English", "enm": "Middle English", "eo": "Esperanto",
    "es": "Spanish", "et": "Estonian", "eu": "Basque", "fa": "Persian", "fi": "Finnish",
    "fil": "Filipino", "fr": "French", "fro": "Old French", "ga": "Irish",
    "gd": "Scottish Gaelic", "gl": "Galician", "grc": "Ancient Greek", "gu": "Gujarati",
    "haw": "Hawaiian", "he": "Hebrew", "hi": "Hindi", "hr": "Croatian", "hu": "Hungarian",
    "hy": "Armenian", "id": "Indonesian", "is": "Icelandic", "it": "Italian", "ja": "Japanese",
    "ka": "Georgian", "kk": "Kazakh", "km": "Khmer", "kn": "Kannada", "ko": "Korean",
    "ku": "Kurdish", "la": "Latin", "lb": "Luxembourgish", "lt": "Lithuanian", "lv": "Latvian",
    "mi": "Māori", "mk": "Macedonian", "ml": "Malayalam", "mn": "Mongolian", "mr": "Marathi",
    "ms": "Malay", "mt": "Maltese", "my": "Burmese", "nb": "Norwegian", "ne": "Nepali",
    "nl": "Dutch", "nn": "Norwegian", "no": "Norwegian", "non": "Old Norse", "oc": "Occitan",
    "pa": "Punjabi", "pl": "Polish", "ps": "Pashto", "pt": "Portuguese", "rm": "Romansh",
    "ro": "Romanian", "ru": "Russian", "sa": "Sanskrit", "sd": "Sindhi", "si": "Sinhala",
    "sk": "Slovak", "sl": "Slovene", "so": "Somali", "sq": "Albanian", "sr": "Serbian",
    "sv": "Swedish", "sw": "Swahili", "ta": "Tamil", "te": "Telugu", "th": "Thai",
    "tl": "Tagalog", "tr": "Turkish", "uk": "Ukrainian", "ur": "Urdu", "uz": "Uzbek",
    "vi": "Vietnamese", "yi": "Yiddish", "zh": "Chinese", "zu": "Zulu",
}  # fmt: skip
# Footnotes, remarks for editors, marks without a text. What stands on a line of its own needs no
# entry.
SILENT = frozenset(
    _names(
        """r, rp, ref, ref label, note, note label, note tag, notetag, cref, cref2, ref supports2,
        citation, cite, cite-web, wikicite, harv, harvs, harvid, sfnref, anchor, anchors, shortcut,
        fact, cn, facts, cb, dn, pn, vn, fv, or, syn, sps, psc, mcn, bcn, btn, mcn, nfr, by who, opinion,
        clarify, clarifyme, clarification, who, whom, by whom, when, where, which, why, what, how often,
        according to whom, according to who, says who, attribution, weasel word, weasel words, vague,
        dubious, disputed, verify source, verify credibility, unreliable source, better source,
        failed verification, not in source, original research, pov statement, npov-section, page number,
        update after, explain, elucidate, ambiguous, quantify, specify, example, examples, full, nonspecific,
        synthesis, unbalanced opinion, lopsided, self-published source, primary source, third-party source,
        discuss, contradict, undue, speculation, obsolete source, obsolescent source, circular reference,
        overly detailed, peacock, tone, dead link, deadlink, dead, link rot, webarchive, wayback, cbignore,
        subscription, subscription required, closed access, open access, free access, registration,
        registration required, subscription or libraries, isbn, issn, oclc, doi, pmid, pmc, jstor, arxiv,
        asin, lccn, bibcode, hdl, imdb name, imdb title, official website, increase, decrease, steady, gain,
        loss, profit, nochange, up, down, same, flagdeco, flag icon, in lang, language icon, icon, tick,
        cross, lock, !--, clear, clr, -, break, toc right, toc left, see above, see below, portal,
        short description, lead missing, refbegin, refend, reflist, notelist, main, see also, further,
        hatnote, about, distinguish, redirect, other uses, good article, featured article, coord missing,
        self-reference, selfref, hidden begin, hidden end, defn, term-begin, div col, div col end, colend,
        colbegin, col-begin, col-end, col-break, col-2, end div col, lang icon, snf, update, expand section"""
    )
)
SILENT_STARTS = (
    "cite ", "citation ", "use ", "sfn", "efn", "refn", "pp-", "infobox", "flagicon", "#tag:ref",
    "defaultsort:", "displaytitle:", "refimprove", "more citations", "unreferenced", "wikt:",
)  # fmt: skip
SILENT_ENDS = (" needed", " inline", "-inline", "?", "-fn", "/fn", " icon", "-stub", " sidebar")
