"""Tokenizer files in CLIP's format, and the text encoder's forward pass written for training."""
import json
import pathlib

import torch
import torch.nn.functional as F

TOKENS = 77


def _byte_alphabet():
    """CLIP's printable stand-ins for the 256 byte values."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {b: chr(b) for b in keep}
    extra = 0
    for b in range(256):
        if b not in table:
            table[b] = chr(256 + extra)
            extra += 1
    return [table[b] for b in [*keep, *(b for b in range(256) if b not in keep)]]


def write_tokenizer(folder, lines):
    """Byte-pair merges that turn every word of `lines` into one token; any other text still tokenizes."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    alphabet = _byte_alphabet()
    vocabulary = alphabet + [c + "</w>" for c in alphabet]
    merges = []
    counts = {}
    for line in lines:
        for word in line.lower().replace(",", " ").replace("-", " ").split():
            counts[word] = counts.get(word, 0) + 1
    words = {w: [*w[:-1], w[-1] + "</w>"] for w in sorted(counts)}
    while True:
        pairs = {}
        for word, parts in words.items():
            for pair in zip(parts, parts[1:]):
                pairs[pair] = pairs.get(pair, 0) + counts[word]
        if not pairs:
            break
        best = max(sorted(pairs), key=lambda p: pairs[p])
        merges.append(best)
        vocabulary.append("".join(best))
        for word, parts in words.items():
            merged, i = [], 0
            while i < len(parts):
                if tuple(parts[i:i + 2]) == best:
                    merged.append("".join(best))
                    i += 2
                else:
                    merged.append(parts[i])
                    i += 1
            words[word] = merged
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(
        json.dumps({t: i for i, t in enumerate(vocabulary)}, ensure_ascii=False))
    (folder / "merges.txt").write_text(
        "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>",
               "unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n")
    config = {**special, "tokenizer_class": "CLIPTokenizer", "model_max_length": TOKENS,
              "add_prefix_space": False, "do_lower_case": True, "errors": "replace"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    return len(vocabulary)


def tokenize(tokenizer, captions):
    """Token ids [N, 77]; wordings repeat, so each distinct caption is tokenized once."""
    distinct = {c: i for i, c in enumerate(dict.fromkeys(captions))}
    ids = tokenizer(list(distinct), padding="max_length", max_length=TOKENS, truncation=True)["input_ids"]
    return torch.tensor(ids, dtype=torch.int16)[torch.tensor([distinct[c] for c in captions])]


def encode_text(model, ids):
    """What CLIPTextModel returns as last_hidden_state, without its mask bookkeeping (which would
    synchronise with the host inside a captured graph). check.py compares the two on every run."""
    text = model.text_model if hasattr(model, "text_model") else model
    embed = text.embeddings
    words = torch.arange(embed.token_embedding.num_embeddings, device=ids.device)
    table = embed.token_embedding.weight
    h = (ids[..., None] == words).to(table.dtype) @ table  # a graph-safe lookup, gradient included
    h = h + embed.position_embedding.weight[:ids.shape[1]]
    for layer in text.encoder.layers:
        attn = layer.self_attn
        x = layer.layer_norm1(h)
        shape = (*x.shape[:2], attn.num_heads, attn.head_dim)
        q, k, v = (p(x).view(shape).transpose(1, 2) for p in (attn.q_proj, attn.k_proj, attn.v_proj))
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        h = h + attn.out_proj(a.transpose(1, 2).reshape(x.shape))
        y = layer.mlp.fc1(layer.layer_norm2(h))
        h = h + layer.mlp.fc2(y * torch.sigmoid(1.702 * y))
    return text.final_layer_norm(h)
