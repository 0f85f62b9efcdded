"""Writes tests/fixtures/tokenizer: 1,000 varied strings and the ids transformers' CLIPTokenizer gives them.

strings.json: the strings. ids-VOCAB-PAD.json: "ids", one list per string, with start and end token,
neither padded nor truncated; "padded", the first 60 strings once more, padded and cut to 77.
"""
import json
import random
import unicodedata

from transformers import CLIPTokenizer

import tokenizer

OUT = tokenizer.FIXTURES / "tokenizer"
WORDS = ("a the photo of red fox cat dog running jumping man woman city night sunset highly detailed cinematic "
         "lighting masterpiece best quality 4k 8k hdr octane render trending artstation portrait landscape green "
         "hills circle square triangle moving slowly fast left right camera pan zoom in out ocean waves mountain "
         "snow forest waterfall robot spaceship anime style oil painting watercolor sketch blurry watermark text").split()
CONTRACTIONS = ["it's", "don't", "they're", "we've", "I'm", "she'll", "he'd", "IT'S", "DON'T", "'S", "'t", "o'clock",
                "rock'n'roll", "y'all'd've", "''s", "can''t", "’s", "it’s", "'", "''", "'re're"]
FIXED = ["", " ", "   ", "\t", "\n", "\r\n", "\u00a0", "\u3000", "\u200b", "\ufeff", "\u0000", "a\u0000b", "\x07bell", "\x1b[31mred",
         "!", "!!", "!!!", "a!", "!a", "a ! b", "wow!!'s", "<|startoftext|>", "<|endoftext|>", "a<|endoftext|>b",
         "<|ENDOFTEXT|>", "<|startoftext|>a photo<|endoftext|>", "<|endoftext", "|>", "a b", "A  B", " a", "a ",
         "ÀÉÎÕÜ", "e\u0301", "E\u0301", "é", "ﬁ ﬂ ﬃ", "Ⅷ ⅷ ½ ² ³ ①", "İstanbul I ı", "ΣΑΣ Σ σς", "straße STRASSE ẞ", "Ǆ ǅ ǆ",
         "ʼn ŉ", "東京タワー", "東京 タワー", "中文字符测试", "안녕하세요 세계", "각", "\u1112\u1161\u11ab", "مرحبا بالعالم", "שלום עולם",
         "สวัสดีชาวโลก", "नमस्ते दुनिया", "Привет, мир", "Ελληνικά", "Հայերեն", "ქართული", "ᏣᎳᎩ ꭰ", "🚀", "👨‍👩‍👧‍👦", "👍🏽", "🇺🇳🇯🇵", "❤️", "☺︎",
         "𝕳𝖊𝖑𝖑𝖔", "𐐀𐐨", "𠮷野家", "1234567890", "3.14159", "1,000,000", "٣٤٥", "१२३", "½cup", "x²+y²", "C++20", "a_b_c", "snake_case CamelCase",
         "http://example.org/a?b=c&d=%20", "user@example.org", "#hashtag @user", "(word:1.2), [other], {third}", "a--b---c", "…", "...", "?!?!",
         "\"quoted\" ‘single’ “double”", "tab\tseparated\tvalues", "line\nbreak", "a\u2028b\u2029c", "a\u0085b", "zero\u200dwidth", "soft\u00adhyphen",
         "a\u0300\u0301\u0302\u0303", "\u0301", "ộ o\u0323\u0302 o\u0302\u0323", "Å \u212b A\u030a", "\uac00\u11a8", "\ufb1d \u05d9\u05b4", "a" * 400, "ab " * 200, "!" * 100,
         "🚀" * 40, "東" * 80, "word " * 90, "\u00e9" * 90, "'s" * 50, "0" * 90, " " * 300 + "a" + " " * 300]


def random_text(rng, alphabet, low, high):
    return "".join(rng.choice(alphabet) for _ in range(rng.randint(low, high)))


def strings():
    rng = random.Random(20240)
    assigned = [chr(c) for c in range(1, 0x1FB00) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]
    ranges = {"latin": (0x20, 0x250), "greek_cyrillic": (0x370, 0x530), "combining": (0x300, 0x370),
              "punctuation": (0x2000, 0x2070), "symbols": (0x2190, 0x2800), "cjk": (0x4E00, 0x5200), "kana": (0x3040, 0x3100),
              "hangul": (0xAC00, 0xAE00), "jamo": (0x1100, 0x1200), "emoji": (0x1F300, 0x1F650), "control": (0x01, 0x20)}
    pools = {k: [c for c in assigned if low <= ord(c) < high] for k, (low, high) in ranges.items()}
    result = list(FIXED) + CONTRACTIONS
    while len(result) < 1000:
        kind = rng.randrange(8)
        if kind <= 1:  # prompts
            words = [rng.choice(WORDS + CONTRACTIONS) for _ in range(rng.randint(1, 40))]
            words = [rng.choice([str.lower, str.upper, str.title, str])(w) for w in words]
            text = rng.choice([" ", ", ", "  ", " - "]).join(words)
        elif kind == 2:  # one script
            text = random_text(rng, pools[rng.choice(list(pools))], 1, 30)
        elif kind == 3:  # mixed scripts
            text = "".join(random_text(rng, pools[rng.choice(list(pools))], 1, 6) for _ in range(rng.randint(2, 8)))
        elif kind == 4:  # anything assigned
            text = random_text(rng, assigned, 1, 40)
        elif kind == 5:  # words and digits glued to symbols
            parts = [rng.choice(WORDS), str(rng.randint(0, 99999)), random_text(rng, "!?.,:;'\"()[]{}<>|/\\-_+=*&^%$#@~`", 1, 4)]
            text = "".join(rng.choice(parts) for _ in range(rng.randint(2, 12)))
        elif kind == 6:  # base letters with marks, and their composed forms
            text = "".join(rng.choice("aeiounAEIOUNcs") + rng.choice(pools["combining"]) * rng.randint(0, 2) for _ in range(rng.randint(1, 12)))
            text = unicodedata.normalize(rng.choice(["NFC", "NFD"]), text)
        else:  # special tokens and white space inside text
            pieces = [rng.choice(WORDS), "<|endoftext|>", "<|startoftext|>", " ", "\n", "\t", "!", "\u00a0", "'s", "<|EndOfText|>"]
            text = "".join(rng.choice(pieces) for _ in range(rng.randint(2, 10)))
        result.append(text)
    return result


def main():
    texts = strings()
    (OUT / "strings.json").write_text(json.dumps(texts, indent=0), encoding="utf-8")
    tiny = tokenizer.FIXTURES / "checkpoints" / "unetmotion3" / "tokenizer"
    for vocab, folder in (("clip", OUT / "clip"), ("tiny", tiny)):
        for pad_name, pad in (("end", tokenizer.END), ("exclamation", "!")):
            tok = CLIPTokenizer.from_pretrained(folder, pad_token=pad, model_max_length=77)
            assert tok.pad_token == pad
            ids = [tok(t).input_ids for t in texts]
            padded = tok(texts[:60], padding="max_length", max_length=77, truncation=True).input_ids
            path = OUT / f"ids-{vocab}-{pad_name}.json"
            path.write_text(json.dumps({"ids": ids, "padded": padded}, separators=(",", ":")), encoding="utf-8")
            print(path.name, sum(map(len, ids)), "ids")


if __name__ == "__main__":
    main()
