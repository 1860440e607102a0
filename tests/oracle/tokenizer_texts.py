"""Varied texts for comparing tokenizers: seeded, all scripts, and what breaks tokenizers."""

import random
import unicodedata

# First and last code point of blocks, a few of every kind of script.
BLOCKS = [
    (0x20, 0x7E), (0x20, 0x7E), (0xA0, 0xFF), (0x100, 0x24F), (0x250, 0x2AF), (0x2B0, 0x36F),
    (0x370, 0x3FF), (0x400, 0x52F), (0x530, 0x58F), (0x590, 0x5FF), (0x600, 0x6FF), (0x700, 0x7BF),
    (0x7C0, 0x8FF), (0x900, 0x97F), (0x980, 0x9FF), (0xA00, 0xAFF), (0xB00, 0xBFF), (0xC00, 0xCFF),
    (0xD00, 0xDFF), (0xE00, 0xEFF), (0xF00, 0xFFF), (0x1000, 0x109F), (0x10A0, 0x10FF),
    (0x1100, 0x11FF), (0x1200, 0x137F), (0x13A0, 0x13FF), (0x1400, 0x167F), (0x1680, 0x173F),
    (0x1780, 0x17FF), (0x1800, 0x18AF), (0x1900, 0x1AFF), (0x1B00, 0x1CFF), (0x1D00, 0x1DFF),
    (0x1E00, 0x1EFF), (0x1F00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x20FF), (0x2100, 0x218F),
    (0x2190, 0x23FF), (0x2460, 0x24FF), (0x2500, 0x27BF), (0x2C00, 0x2DFF), (0x2E80, 0x2FDF),
    (0x3000, 0x30FF), (0x3100, 0x33FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA000, 0xA4CF),
    (0xA500, 0xA6FF), (0xA700, 0xABFF), (0xAC00, 0xD7FF), (0xE000, 0xE100), (0xF900, 0xFAFF),
    (0xFB00, 0xFDFF), (0xFE00, 0xFEFF), (0xFF00, 0xFFFF), (0x10000, 0x100FF), (0x10280, 0x103DF),
    (0x10400, 0x1052F), (0x10800, 0x10AFF), (0x10B00, 0x10FFF), (0x11000, 0x114FF),
    (0x11580, 0x11AFF), (0x11C00, 0x11FFF), (0x12000, 0x1254F), (0x13000, 0x1345F),
    (0x16800, 0x16FFF), (0x17000, 0x187FF), (0x1B000, 0x1B2FF), (0x1D000, 0x1D7FF),
    (0x1E000, 0x1E9FF), (0x1EE00, 0x1EEFF), (0x1F000, 0x1FAFF), (0x20000, 0x2A6DF),
    (0x2F800, 0x2FA1F), (0xE0000, 0xE01EF),
]
WORDS = (
    "the quick brown fox jumps over lazy dogs It's We'll they've I'M you'D HE'S don't 'tis o'clock "
    "naïve café Straße ŒUVRE Ångström İstanbul ΣΊΣΥΦΟΣ σίγμας ПРИВЕТ мир Київ ქართული հայերեն "
    "שָׁלוֹם עולם العَرَبِيَّة فارسی हिन्दी नमस्ते বাংলা தமிழ் తెలుగు ไทย ພາສາລາວ မြန်မာ ខ្មែរ አማርኛ 日本語 "
    "カタカナ ひらがな 中文字符 漢字 한국어 조선말 tiếng Việt ÅÄÖ åäö ǅungla ʰʷʲ x² H₂O ½ Ⅻ ٣٤٥ ४५६ 12345678 "
    "3.14159 1,000,000 0x7fff camelCase PascalCase snake_case SCREAMING_CASE kebab-case ſo ’s 'ſ "
    "http://example.com/a/b?c=d&e=f#g foo@bar.org C:\\path\\file int main(){return 0;} #include "
    "</div> <p class='x'> /* */ // --- *** ``` $$ %d {{}} [[]] ... ?! ¿¡ «» „“ — – • … ™ € £ ¥"
).split()
EMOJI = ["😀", "👍🏽", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "🇺🇳", "1️⃣", "☺️", "❤️‍🔥", "🧑🏿‍🚀", "🫠", "©️", "🤷‍♀️"]
SPACES = [" ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n", "\n ", " \n  \n", "\u00a0", "\u3000",
          "\u2003", "\u2028", "\u0085", "\v", "\f", "\u200b", "\u180e", "\ufeff", " \r", "\t\t "]
MARKS = ["\u0301", "\u0308", "\u0323", "\u0334", "\u0345", "\u05b7", "\u064b", "\u3099", "\u1ab0",
         "\u1dfb", "\u20dd", "\ufe0f", "\u0e31", "\u094d", "\U0001e8d0", "\u08d3", "\u1ac4"]
SUFFIXES = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'T", "'RE", "'Ve", "'M", "'LL", "'lL",
            "'D", "'ſ", "'x", "'", "''", "'sa", "'r", "'l", "'v"]


def random_char(rng):
    pick = rng.random()
    if pick < 0.9:
        first, last = rng.choice(BLOCKS)
        code = rng.randint(first, last)
    elif pick < 0.95:
        code = rng.randint(0, 0x1F)
    else:
        code = rng.randint(0, 0x10FFFF)
    return chr(code) if not 0xD800 <= code <= 0xDFFF else "\ud7ff"


def part(rng, specials):
    kind = rng.randrange(16)
    if kind <= 3:
        return rng.choice(WORDS)
    if kind == 4:
        first, last = rng.choice(BLOCKS)
        codes = [rng.randint(first, last) for _ in range(rng.randint(1, 12))]
        return "".join(chr(c) for c in codes if not 0xD800 <= c <= 0xDFFF)
    if kind == 5:
        return "".join(random_char(rng) for _ in range(rng.randint(1, 8)))
    if kind == 6:
        return rng.choice(EMOJI) * rng.randint(1, 3)
    if kind <= 8:
        return "".join(rng.choice(SPACES) for _ in range(rng.randint(1, 4)))
    if kind == 9:
        return random_char(rng) * rng.choice([2, 3, 5, 17, 64, 200])
    if kind == 10:
        return rng.choice(WORDS) + rng.choice(SUFFIXES)
    if kind == 11:
        base = rng.choice("aeiouAEIOUnNсה가\u1100\u1161\u11a8\u0915")
        return base + "".join(rng.choice(MARKS) for _ in range(rng.randint(1, 5)))
    if kind == 12:
        return str(rng.randint(0, 10 ** rng.randint(1, 15)))
    if kind == 13 and specials:
        token = rng.choice(specials)
        if rng.random() < 0.2:
            cut = rng.randint(1, len(token))
            token = token[:cut]
        return rng.choice(["", "", " ", "\n ", "a"]) + token + rng.choice(["", "", " ", "  \n", "b"])
    if kind == 14:
        return "".join(rng.choice("aAbB'sSdD /-_.,\n\t 1") for _ in range(rng.randint(1, 20)))
    return " " + rng.choice(WORDS)


def texts(seed, count, specials):
    """Yields `count` texts; the first few are the corner cases."""
    rng = random.Random(seed)
    fixed = ["", " ", "\n", "a", "\0", "a\0b", "\uffff", "\U0010ffff", "\ufffd", "a" * 3000,
             " " * 500, "\n" * 300, "'" * 100, "é" * 700, "👍" * 300, "e" + "\u0301\u0323" * 400]
    for token in specials:
        fixed += [token, token * 2, f" {token} ", f"x {token}\n\ny", f"{token[:-1]}", f"{token}'s"]
    yield from fixed[:count]
    for _ in range(count - len(fixed)):
        glue = rng.choice(["", "", " "])
        yield glue.join(part(rng, specials) for _ in range(rng.randint(1, 14)))


def byte_texts(seed, count):
    """Texts that are not valid UTF-8, as bytes."""
    rng = random.Random(seed)
    for _ in range(count):
        good = "".join(part(rng, []) for _ in range(rng.randint(1, 5))).encode()
        bad = bytearray(good)
        for _ in range(rng.randint(1, 6)):
            place = rng.randint(0, len(bad))
            if rng.random() < 0.5:
                bad[place:place] = bytes(rng.choices([0x80, 0xBF, 0xC0, 0xC3, 0xE0, 0xE4, 0xED, 0xA0,
                                                      0xF0, 0x90, 0xF4, 0xF5, 0xFF], k=rng.randint(1, 4)))
            else:
                del bad[place:place + rng.randint(1, 2)]
        yield bytes(bad)


def only_old(text):
    """Without the characters that Unicode 3.2 did not have."""
    return "".join(c for c in text if unicodedata.ucd_3_2_0.category(c) != "Cn")
