#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Golden ids for host/text: trains small byte-level and byte-fallback tokenizers with the reference library and records what it makes of
seeded random text.

    pip install tokenizers==0.23.3
    tests/golden/tokenizer.py tests/golden/tokenizer            # the committed tokenizers and samples
    tests/golden/tokenizer.py /tmp/big --lines 100000           # the same tokenizers, many more lines
    LEANPO_TOKENIZER_GOLDEN=/tmp/big build/test_text_tokenizer  # compares them all

qwen: NFC, the Qwen2 split pattern, merges as arrays, added tokens with every flag.
splits: several splits before ByteLevel's own: a string, patterns that leave gaps or match nothing, every shorthand class.
gpt2: no normalizer, ByteLevel's own pattern, a prefix space, merges as "a b" strings, ignore_merges.
llama: byte fallback as Vicuna has it: Prepend and Replace, no pre-tokenizer, <s> in front, the decoder's Strip
  (of which two bytes are missing, so that unknown tokens are fused too).
meta: byte fallback with bytes missing (unknown tokens, not fused), Metaspace on the first piece alone, split.
Each sample line: text, ids, and the decoded text with and without special tokens."""
import argparse
import json
import pathlib
import pydoc_data.topics
import random
import sys
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
           r"|\s+(?!\S)|\s+")
VISION = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|video_pad|>"]
FLAGGED = [
    AddedToken("<|im", normalized=False),  # a prefix of others: the longest must win
    AddedToken("<left>", lstrip=True, normalized=False),
    AddedToken("<right>", rstrip=True, normalized=False),
    AddedToken("<both>", lstrip=True, rstrip=True, normalized=True),
    AddedToken("cat", single_word=True, normalized=True),
    AddedToken("caf\u00e9", normalized=True),  # found in decomposed text too
    AddedToken("na\u0131ve", single_word=True, normalized=False),
    AddedToken("o\u0308k", normalized=False),  # spelt decomposed, found in decomposed text alone
]
WORDS = ("the cat sat on a mat and don't we'll I'VE you're it's what is happening in video frame 12 "
         "\u4f60\u597d\u4e16\u754c \u65e5\u672c\u8a9e \u041f\u0440\u0438\u0432\u0435\u0442 \u05e9\u05dc\u05d5\u05dd "
         "\u0645\u0631\u062d\u0628\u0627 \u0939\u093f\u0928\u094d\u0926\u0940 \ud55c\uad6d\uc5b4 na\u00efve caf\u00e9").split()


def corpus():
    for text in pydoc_data.topics.topics.values():
        yield text
    yield " ".join(WORDS * 50)


LOW_LINE = "\u2581"


def train_llama(kind, vocab_size):
    """Trained in words, then given the shape of LLaMA's file: special and byte tokens first."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Metaspace(replacement=LOW_LINE, prepend_scheme="always", split=True)
    t.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=vocab_size, show_progress=False))
    data = json.loads(t.to_str())
    model = data["model"]
    missing = (0xe1, 0xf0) if kind == "llama" else (0x0a, 0x80, 0xe4, 0xf0)
    first = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256) if b not in missing]
    words = [w for w, _ in sorted(model["vocab"].items(), key=lambda x: x[1]) if w not in first]
    model.update(vocab={w: i for i, w in enumerate(first + words)}, byte_fallback=True, fuse_unk=kind == "llama",
                 unk_token="<unk>")
    token = lambda i, content, **more: dict(id=i, content=content, single_word=False, lstrip=False, rstrip=False,
                                            normalized=False, special=True) | more
    n = len(model["vocab"])
    data["added_tokens"] = [token(i, first[i]) for i in range(3)] + [
        token(n, "<image>"), token(n + 1, "<video>"), token(n + 2, "<right>", rstrip=True, special=False),
        token(n + 3, "cat", normalized=True, special=False)]
    data["pre_tokenizer"] = None
    if kind == "llama":
        data["normalizer"] = dict(type="Sequence", normalizers=[
            dict(type="Prepend", prepend=LOW_LINE), dict(type="Replace", pattern=dict(String=" "), content=LOW_LINE)])
        data["post_processor"] = dict(
            type="TemplateProcessing", single=[dict(SpecialToken=dict(id="<s>", type_id=0)), dict(Sequence=dict(id="A", type_id=0))],
            pair=[dict(Sequence=dict(id="A", type_id=0)), dict(Sequence=dict(id="B", type_id=1))],
            special_tokens={"<s>": dict(id="<s>", ids=[1], tokens=["<s>"])})
    else:
        data["pre_tokenizer"] = dict(type="Metaspace", replacement=LOW_LINE, prepend_scheme="first", split=True)
    data["decoder"] = dict(type="Sequence", decoders=[
        dict(type="Replace", pattern=dict(String=LOW_LINE), content=" "), dict(type="ByteFallback"), dict(type="Fuse")]
        + ([dict(type="Strip", content=" ", start=1, stop=0)] if kind == "llama" else []))
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def train(kind, vocab_size):
    if kind in ("llama", "meta"):
        return train_llama(kind, vocab_size)
    t = Tokenizer(models.BPE(ignore_merges=kind == "gpt2"))
    if kind == "qwen":
        t.normalizer = normalizers.NFC()
        t.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)])
    elif kind == "splits":
        t.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split("he", behavior="isolated"),
            pre_tokenizers.Split(Regex(r"\d{1,2}|x*|^a|t$|[^\w\s]{2}"), behavior="isolated", invert=True),
            pre_tokenizers.Split(Regex(r"(?<=\w)\W|\D\.|\S+?!|[\u4e00-\u5fff\s]{2,3}"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False)])
    else:
        t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(corpus(), trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False))
    t.add_special_tokens(VISION)
    if kind == "qwen":
        t.add_tokens(FLAGGED)
    data = json.loads(t.to_str())
    if kind == "gpt2":
        merges = data["model"]["merges"]
        data["model"]["merges"] = [m if isinstance(m, str) else " ".join(m) for m in merges]
        # Merges the rules can no longer reach: only ignore_merges makes these whole words again.
        data["model"]["merges"] = data["model"]["merges"][:-200]
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


BLOCKS = [(0x20, 0x7f), (0x20, 0x7f), (0, 0x20), (0x7f, 0x180), (0x300, 0x370), (0x370, 0x590), (0x590, 0x700),
          (0x900, 0xa00), (0xe00, 0xf00), (0x1100, 0x1200), (0x1680, 0x1820), (0x1e00, 0x2000), (0x2000, 0x2070),
          (0x20d0, 0x2100), (0x2460, 0x2500), (0x3000, 0x3100), (0x4e00, 0x9fff), (0xac00, 0xd7a4), (0xf900, 0xfb00),
          (0xfb00, 0xfb50), (0xfe00, 0xff00), (0xff00, 0x10000), (0x1d150, 0x1d170), (0x1d400, 0x1d800),
          (0x1f1e6, 0x1f200), (0x1f300, 0x1f700), (0xe0100, 0xe01f0), (0x10ffe0, 0x110000)]
GLUE = [" ", "  ", "\n", "\r\n", "\t", "\u180e", "\u00a0", "\u3000", "\u0085", "\u2028", "", "", "'", "_", "\u200d"]
CONTRACTIONS = ["'s", "'T", "'re", "'VE", "'m", "'lL", "'d", "'\u017f", "\u2019s"]
ALWAYS = ["", " ", "\n", "  \n ", "a", "don't", "I'LL", "'\u017f", "1234", "x\u180ey", "\u180e\u180e ", "e\u0301", "cafe\u0301",
          "cat", "cats", "a cat.", "cat\u0301", "_cat", "cat\u200d", "  <left>  ", "<right>  \n x", " \t<both> \u3000<both>",
          "<|im_start|>user\nhi<|im_end|>\n", "<|im_sta", "<|im<|im_end|>", "<right> <left>", "na\u0131ve!", "\u24b6cat", "a" * 300,
          " " * 300, "\u0130\u0131'S", "\ufb01\ufdfa", "\u1100\u1161\u11a8", "\ud55c\uad6d\uc5b4", "\U0001f468\u200d\U0001f469\u200d\U0001f467",
          "\u0344\u0301\u0323", "\u212b\u2126", "ab\x00c", "\ufeffx", "\ufffd",
          "a\u0eba\u0323b", "\u0e98\u0efc\u0e38\u0eba", "\U00011935\U00011930",
          "\u00f6k o\u0308k", "\uc608\u11a7x", "axxa 123 then.. atat\nat !!! w\u0301- \u4e00\u4e8c  \u4e09!"]  # marks that Unicode 9 did not know


def line(r, added):
    parts = []
    for _ in range(r.randrange(1, 12)):
        kind = r.randrange(12)
        if kind < 4:
            parts.append(r.choice(WORDS))
        elif kind < 7:
            block = r.choice(BLOCKS)
            parts.append("".join(chr(r.randrange(*block)) for _ in range(r.randrange(1, 8))))
        elif kind == 7:
            parts.append(r.choice(added))
        elif kind == 8:
            parts.append(r.choice(CONTRACTIONS))
        elif kind == 9:
            parts.append(r.choice(["a", " ", "\n", "9", "\u0301", "!", "ha", "\u180e"]) * r.randrange(1, 40))
        elif kind == 10:
            parts.append(unicodedata.normalize(r.choice(["NFD", "NFKD"]), r.choice(WORDS)))
        else:
            parts.append("".join(chr(r.randrange(*r.choice(BLOCKS))) for _ in range(r.randrange(1, 6))))
        parts.append(r.choice(GLUE))
    return "".join(parts)


def record(t, text):
    ids = t.encode(text, add_special_tokens=False).ids
    return {"text": text, "ids": ids, "back": t.decode(ids, skip_special_tokens=False),
            "plain": t.decode(ids, skip_special_tokens=True)}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out", type=pathlib.Path)
    p.add_argument("--lines", type=int, default=300)
    p.add_argument("--vocab", type=int, default=1200)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--all-characters", action="store_true", help="also one line for every character of Unicode")
    a = p.parse_args()
    for kind in ("qwen", "gpt2", "splits", "llama", "meta"):
        folder = a.out / kind
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tokenizer.json").write_text(train(kind, a.vocab), encoding="utf-8")
        t = Tokenizer.from_file(str(folder / "tokenizer.json"))
        added = [x.content for x in t.get_added_tokens_decoder().values()]
        r = random.Random(a.seed)
        texts = ALWAYS + [line(r, added) for _ in range(a.lines)]
        if a.all_characters:
            texts += [f"a{chr(c)}\u0323b {chr(c)}1" for c in range(0x110000) if not 0xd800 <= c < 0xe000]
        with open(folder / "sample.jsonl", "w", encoding="utf-8") as f:
            for text in texts:
                f.write(json.dumps(record(t, text), ensure_ascii=True, separators=(",", ":")) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
