"""CLIP byte-pair vocabularies: the public one, and cut-down ones for the tiny checkpoints.

A CLIP vocabulary follows from its merges alone: 256 byte symbols, the same with the end-of-word
mark, one entry per merge, then the start and end tokens.
"""
import gzip
import importlib.util
import json
import pathlib

FIXTURES = pathlib.Path(__file__).resolve().parents[2] / "tests" / "fixtures"
START, END = "<|startoftext|>", "<|endoftext|>"


def byte_symbols():
    """The printable character that stands for each byte, in vocabulary order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    symbols = [chr(b) for b in printable]
    return symbols + [chr(256 + n) for n in range(256 - len(printable))]


def vocabulary(merges):
    symbols = byte_symbols()
    words = symbols + [s + "</w>" for s in symbols] + [m.replace(" ", "") for m in merges] + [START, END]
    return {word: index for index, word in enumerate(words)}


def public_merges():
    """The 48,894 merges of OpenAI's CLIP: the committed copy, else the clip-anytorch package's file."""
    committed = FIXTURES / "tokenizer" / "clip" / "merges.txt"
    if committed.exists():
        return committed.read_text(encoding="utf-8").split("\n")[1:-1]
    package = pathlib.Path(importlib.util.find_spec("clip").origin).parent
    lines = gzip.open(package / "bpe_simple_vocab_16e6.txt.gz").read().decode("utf-8").split("\n")
    return lines[1 : 49152 - 256 - 2 + 1]


def write_vocabulary(folder, merges):
    """vocab.json and merges.txt, as Stable Diffusion checkpoints carry them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary(merges), separators=(",", ":"), ensure_ascii=False),
                                       encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")


def write_config(folder, pad_token, map_style):
    """tokenizer_config.json and special_tokens_map.json in the classic layout.

    map_style: tokens as plain strings ("string") or as objects with a "content" key ("object").
    """
    def token(text):
        if map_style == "string":
            return text
        return {"content": text, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False}

    config = {"model_max_length": 77, "pad_token": pad_token, "bos_token": START, "eos_token": END,
              "unk_token": END, "tokenizer_class": "CLIPTokenizer"}
    special = {"bos_token": token(START), "eos_token": token(END), "unk_token": token(END),
               "pad_token": pad_token}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n", encoding="utf-8")
