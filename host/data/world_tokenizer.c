/* SPDX-License-Identifier: Apache-2.0 */
/* world_tokenizer.c -- a byte-level BPE tokenizer in which every word of the world is one token.
 * Merges are made, not learned: words are taken in order, each is split with the merges so far, and what is
 * left in pieces is joined from the left by new merges of higher rank. A word that was whole stays whole: BPE
 * applies the lowest rank first, and the old merges had already brought it to one piece. First the bare word,
 * then the word after a space, which is one more merge. Ids: 256 bytes in GPT-2's order, merges, the special
 * tokens of Qwen2. */
#include "base/json.h"
#include "data/world_scene.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BYTES = 256, MAX_TOKENS = 505, LONGEST = 40 };

typedef struct bpe {
    int n;                                   /* tokens: bytes, then merges */
    int left[MAX_TOKENS], right[MAX_TOKENS]; /* of token BYTES + rank */
    char text[MAX_TOKENS][LONGEST];          /* in the alphabet of bytes-as-letters, UTF-8 */
} bpe;

static const char *const specials[] = {"<|endoftext|>",  "<|im_start|>",  "<|im_end|>",   "<|vision_start|>",
                                       "<|vision_end|>", "<|video_pad|>", "<|image_pad|>"};
enum { SPECIALS = sizeof specials / sizeof *specials };

static int printable(int b) {
    return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
}

/* The 256 letters: printable bytes stand for themselves, the rest for U+0100 on, in byte order; ids follow
 * that order. */
static void add_bytes(bpe *t, int id_of[BYTES]) {
    for (int pass = 0, next = 256; pass < 2; pass++)
        for (int b = 0; b < BYTES; b++) {
            if (printable(b) != (pass == 0)) continue;
            int code = pass == 0 ? b : next++;
            char *s = t->text[t->n];
            id_of[b] = t->n++;
            if (code < 128) {
                s[0] = (char)code;
            } else {
                s[0] = (char)(0xc0 | code >> 6);
                s[1] = (char)(0x80 | (code & 63));
            }
        }
}

/* Index of the adjacent pair with the lowest rank, or -1; *token: what it becomes. */
static int best_pair(const bpe *t, const int *piece, int n, int *token) {
    for (int k = BYTES; k < t->n; k++)
        for (int i = 0; i + 1 < n; i++)
            if (piece[i] == t->left[k] && piece[i + 1] == t->right[k]) {
                *token = k;
                return i;
            }
    return -1;
}

/* Make `word` one token. 0 when the vocabulary is full. */
static int add_word(bpe *t, const int *id_of, const char *word) {
    int piece[LONGEST], n = (int)strlen(word), token, i;
    for (i = 0; i < n; i++) piece[i] = id_of[(unsigned char)word[i]];
    while (n > 1) {
        i = best_pair(t, piece, n, &token);
        if (i < 0) {
            if (t->n == MAX_TOKENS) return 0;
            i = 0;
            token = t->n++;
            t->left[token] = piece[0];
            t->right[token] = piece[1];
            char text[2 * LONGEST];
            snprintf(text, sizeof text, "%s%s", t->text[piece[0]], t->text[piece[1]]);
            memcpy(t->text[token], text, LONGEST - 1);
        }
        piece[i] = token;
        n--;
        memmove(piece + i + 1, piece + i + 2, (size_t)(n - i - 1) * sizeof *piece);
    }
    return 1;
}

static int build(bpe *t) {
    int id_of[BYTES], fits = 1;
    add_bytes(t, id_of);
    for (const char *const *w = world_words; *w && fits; w++) fits = add_word(t, id_of, *w);
    for (const char *const *w = world_words; *w && fits; w++) {
        char spaced[LONGEST];
        snprintf(spaced, sizeof spaced, " %s", *w);
        fits = add_word(t, id_of, spaced);
    }
    return fits && add_word(t, id_of, " ,");
}

static json_t *model_json(const bpe *t) {
    json_t *vocab = json_object(), *merges = json_array();
    for (int i = 0; i < t->n; i++) json_object_set_new(vocab, t->text[i], json_integer(i));
    for (int i = BYTES; i < t->n; i++) {
        char pair[2 * LONGEST];
        snprintf(pair, sizeof pair, "%s %s", t->text[t->left[i]], t->text[t->right[i]]);
        json_array_append_new(merges, json_string(pair));
    }
    return json_pack("{s:s, s:n, s:n, s:s, s:s, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout", "unk_token",
                     "continuing_subword_prefix", "", "end_of_word_suffix", "", "fuse_unk", 0,
                     "byte_fallback", 0, "vocab", vocab, "merges", merges);
}

static json_t *added_json(const bpe *t) {
    json_t *added = json_array();
    for (int i = 0; i < SPECIALS; i++)
        json_array_append_new(added, json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", t->n + i,
                                               "content", specials[i], "single_word", 0, "lstrip", 0,
                                               "rstrip", 0, "normalized", 0, "special", 1));
    return added;
}

static json_t *byte_level(int trim) {
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", trim,
                     "use_regex", 0);
}

/* Qwen2's splitting: contractions, words with the character before them, single digits, punctuation, line
 * ends, spaces. */
static const char split_regex[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
                                  "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

static json_t *tokenizer_json(const bpe *t) {
    json_t *split = json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex", split_regex,
                              "behavior", "Isolated", "invert", 0);
    json_t *pre = json_pack("{s:s, s:[o, o]}", "type", "Sequence", "pretokenizers", split, byte_level(0));
    return json_pack("{s:s, s:n, s:n, s:o, s:{s:s}, s:o, s:o, s:o, s:o}", "version", "1.0", "truncation",
                     "padding", "added_tokens", added_json(t), "normalizer", "type", "NFC", "pre_tokenizer",
                     pre, "post_processor", byte_level(0), "decoder", byte_level(0), "model", model_json(t));
}

static lpo_status save(json_t *obj, const char *dir, const char *name, lpo_error *err) {
    char *path = lpo_path_join(dir, name);
    lpo_status s = path && obj ? lpo_json_save(obj, path, err)
                               : lpo_fail(err, LPO_ENOMEM, "%s/%s: out of memory", dir, name);
    free(path);
    json_decref(obj);
    return s;
}

lpo_status world_tokenizer_write(const char *dir, int *vocabulary, lpo_error *err) {
    bpe *t = calloc(1, sizeof *t);
    if (!t) return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", dir);
    lpo_status s = build(t)
                       ? LPO_OK
                       : lpo_fail(err, LPO_ELIMIT, "%s: the words need more than %d tokens", dir, MAX_TOKENS);
    *vocabulary = t->n + SPECIALS;
    if (!s) s = save(tokenizer_json(t), dir, "tokenizer.json", err);
    if (!s)
        s = save(json_pack("{s:s, s:s, s:s, s:b, s:b, s:i}", "tokenizer_class", "Qwen2Tokenizer", "eos_token",
                           "<|im_end|>", "pad_token", "<|endoftext|>", "add_prefix_space", 0,
                           "clean_up_tokenization_spaces", 0, "model_max_length", 32768),
                 dir, "tokenizer_config.json", err);
    free(t);
    return s;
}
