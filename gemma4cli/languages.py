"""Languages by name and by code, and the scripts without spaces between words.

Codes are ISO 639-1 where nothing else is said. Names are English, the language of the model card's
prompts.
"""

from __future__ import annotations

from .errors import OptionError

NAME_OF = {
    "af": "Afrikaans", "am": "Amharic", "ar": "Arabic", "as": "Assamese", "az": "Azerbaijani",
    "be": "Belarusian", "bg": "Bulgarian", "bn": "Bengali", "bs": "Bosnian", "ca": "Catalan",
    "cs": "Czech", "cy": "Welsh", "da": "Danish", "de": "German", "el": "Greek",
    "en": "English", "eo": "Esperanto", "es": "Spanish", "et": "Estonian", "eu": "Basque",
    "fa": "Persian", "fi": "Finnish", "fr": "French", "fy": "Western Frisian", "ga": "Irish",
    "gd": "Scottish Gaelic", "gl": "Galician", "gu": "Gujarati", "ha": "Hausa", "he": "Hebrew",
    "hi": "Hindi", "hr": "Croatian", "ht": "Haitian Creole", "hu": "Hungarian",
    "hy": "Armenian", "id": "Indonesian", "ig": "Igbo", "is": "Icelandic", "it": "Italian",
    "ja": "Japanese", "jv": "Javanese", "ka": "Georgian", "kk": "Kazakh", "km": "Khmer",
    "kn": "Kannada", "ko": "Korean", "ku": "Kurdish", "ky": "Kyrgyz", "la": "Latin",
    "lb": "Luxembourgish", "lo": "Lao", "lt": "Lithuanian", "lv": "Latvian", "mg": "Malagasy",
    "mi": "Maori", "mk": "Macedonian", "ml": "Malayalam", "mn": "Mongolian", "mr": "Marathi",
    "ms": "Malay", "mt": "Maltese", "my": "Burmese", "nb": "Norwegian Bokmål", "ne": "Nepali",
    "nl": "Dutch", "nn": "Norwegian Nynorsk", "no": "Norwegian", "oc": "Occitan", "or": "Odia",
    "pa": "Punjabi", "pl": "Polish", "ps": "Pashto", "pt": "Portuguese", "ro": "Romanian",
    "ru": "Russian", "rw": "Kinyarwanda", "sa": "Sanskrit", "sd": "Sindhi", "si": "Sinhala",
    "sk": "Slovak", "sl": "Slovenian", "sn": "Shona", "so": "Somali", "sq": "Albanian",
    "sr": "Serbian", "su": "Sundanese", "sv": "Swedish", "sw": "Swahili", "ta": "Tamil",
    "te": "Telugu", "tg": "Tajik", "th": "Thai", "tk": "Turkmen", "tl": "Tagalog",
    "tr": "Turkish", "tt": "Tatar", "ug": "Uyghur", "uk": "Ukrainian", "ur": "Urdu",
    "uz": "Uzbek", "vi": "Vietnamese", "xh": "Xhosa", "yi": "Yiddish", "yo": "Yoruba",
    "zh": "Chinese", "zu": "Zulu",
}  # fmt: skip

_CODES_OF = {
    "af": "afr", "am": "amh", "ar": "ara arb", "as": "asm", "az": "aze", "be": "bel",
    "bg": "bul", "bn": "ben", "bs": "bos", "ca": "cat", "cs": "ces cze", "cy": "cym wel",
    "da": "dan", "de": "deu ger", "el": "ell gre", "en": "eng", "eo": "epo", "es": "spa",
    "et": "est", "eu": "eus baq", "fa": "fas per", "fi": "fin", "fr": "fra fre", "fy": "fry",
    "ga": "gle", "gd": "gla", "gl": "glg", "gu": "guj", "ha": "hau", "he": "heb iw",
    "hi": "hin", "hr": "hrv scr", "ht": "hat", "hu": "hun", "hy": "hye arm", "id": "ind in",
    "ig": "ibo", "is": "isl ice", "it": "ita", "ja": "jpn", "jv": "jav jw", "ka": "kat geo",
    "kk": "kaz", "km": "khm", "kn": "kan", "ko": "kor", "ku": "kur", "ky": "kir", "la": "lat",
    "lb": "ltz", "lo": "lao", "lt": "lit", "lv": "lav", "mg": "mlg", "mi": "mri mao",
    "mk": "mkd mac", "ml": "mal", "mn": "mon", "mr": "mar", "ms": "msa may", "mt": "mlt",
    "my": "mya bur", "nb": "nob", "ne": "nep", "nl": "nld dut", "nn": "nno", "no": "nor",
    "oc": "oci", "or": "ori", "pa": "pan", "pl": "pol", "ps": "pus", "pt": "por",
    "ro": "ron rum mo mol", "ru": "rus", "rw": "kin", "sa": "san", "sd": "snd", "si": "sin",
    "sk": "slk slo", "sl": "slv", "sn": "sna", "so": "som", "sq": "sqi alb", "sr": "srp scc sh",
    "su": "sun", "sv": "swe", "sw": "swa", "ta": "tam", "te": "tel", "tg": "tgk", "th": "tha",
    "tk": "tuk", "tl": "tgl fil", "tr": "tur", "tt": "tat", "ug": "uig", "uk": "ukr",
    "ur": "urd", "uz": "uzb", "vi": "vie", "xh": "xho", "yi": "yid ji", "yo": "yor",
    "zh": "zho chi cmn", "zu": "zul",
}  # fmt: skip
"""The ISO 639-2 codes of each language (both, where there are two) and outdated ones."""

_SHORT_CODE = {long: short for short, codes in _CODES_OF.items() for long in codes.split()} | {
    name.casefold(): short for short, name in NAME_OF.items()
}
_NORWEGIAN = ("no", "nb", "nn")

UNSPACED_LETTERS = (
    "\u0e00-\u0e4f\u0e5a-\u0ecf\u0eda-\u0eff"  # Thai, Lao
    "\u0f00-\u0f1f\u0f34-\u0fff"  # Tibetan
    "\u1000-\u103f\u104a-\u108f\u109a-\u109f"  # Burmese
    "\u1780-\u17df\u17ea-\u17ff"  # Khmer
    "\u3005\u3040-\u30ff\uff66-\uff9f"  # Japanese
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese
)
"""Characters of scripts without spaces between words, as in a regular expression's ``[...]``.

Without digits: a number is one word in these scripts as well.
"""


def language_name(given: str) -> str:
    """The English name of a language given by name or code: "German" for "de" and "ger".

    The region in a code is ignored. Anything but a code is used as a name unchanged, because models
    know more languages and dialects than the list. Raises OptionError.
    """
    text = " ".join(given.split())
    for name in NAME_OF.values():
        if text.casefold() == name.casefold():
            return name
    code = text.replace("_", "-").split("-")[0].lower()
    code = _SHORT_CODE.get(code, code)
    if code in NAME_OF:
        return NAME_OF[code]
    if not text or len(code) <= 3 or any(not c.isprintable() for c in text):
        raise OptionError(
            f"{given!r} is not a language that g4 knows: pass its English name or its code, "
            "such as German or de"
        )
    return text


def tags_match(tag: str | None, wanted: str) -> bool:
    """Whether a track's language tag means the language ``wanted``.

    Both may be a name, an ISO 639-1 or 639-2 code, or a BCP 47 tag. Regions matter only if both
    have one: "de" and "ger" match "de-AT", "pt-BR" does not match "pt-PT".
    """
    if tag is None:
        return False
    (own, own_rest), (other, other_rest) = _parsed(tag), _parsed(wanted)
    if own in _NORWEGIAN and other in _NORWEGIAN and "no" in (own, other):
        return True
    return own == other and (not own_rest or not other_rest or own_rest == other_rest)


def language_of_tag(tag: str) -> str:
    """A track's language tag for people: "German" for "ger", the tag itself if it is unknown."""
    code, rest = _parsed(tag)
    name = NAME_OF.get(code)
    if name is None:
        return tag
    return f"{name}, {rest.upper()}" if rest else name


def _parsed(tag: str) -> tuple[str, str]:
    """A tag's language, as a two-letter code if it has one, and what follows it."""
    text = " ".join(tag.split()).casefold()
    if text in _SHORT_CODE:
        return _SHORT_CODE[text], ""
    language, _, rest = text.replace("_", "-").partition("-")
    return _SHORT_CODE.get(language, language), rest
