/* SPDX-License-Identifier: Apache-2.0 */
/* load.c -- tokenizer.json into a tokenizer. The file comes from strangers: every key is checked, every size
 * is capped, and whatever would make our ids differ from the reference library's is refused by name instead
 * of ignored. */
#include "base/file.h"
#include "base/json.h"
#include "text/bpe.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_FILE        ((size_t)64 << 20)
#define MAX_IDS         (1 << 20)
#define MAX_ADDED_BYTES 1024 /* of one added token: bounds the search at each position of a text */

#define GPT2_PATTERN "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

typedef struct loader {
    lpo_tokenizer *t;
    const char *path;
    const json_t *root, *model, *vocab, *added; /* added may be NULL */
    lpo_error *err;
} loader;

/* obj[key], NULL when missing or null. */
static const json_t *get(const json_t *obj, const char *key) {
    const json_t *v = json_object_get(obj, key);
    return json_is_null(v) ? NULL : v;
}

static int flag(const json_t *obj, const char *key, int otherwise) {
    const json_t *v = get(obj, key);
    return v ? json_is_true(v) : otherwise;
}

/* obj["type"]; "" when obj has none. */
static const char *type_of(const json_t *obj) {
    const char *s = json_string_value(json_object_get(obj, "type"));
    return s ? s : "";
}

static const char *quote(char buf[48], const json_t *s) {
    return lpo_utf8_quote(buf, json_string_value(s), json_string_length(s));
}

static lpo_status refuse(loader *l, const char *key, const char *found, const char *known) {
    char buf[48];
    return lpo_fail(l->err, LPO_EUNSUPPORTED, "%s: %s \"%s\" is not supported (%s)", l->path, key,
                    lpo_utf8_quote(buf, found, strlen(found)), known);
}

static lpo_status no_memory(loader *l) {
    return lpo_fail(l->err, LPO_ENOMEM, "%s: out of memory", l->path);
}

/* A non-empty string or a true flag that the byte-level model must not have. */
static lpo_status check_absent(loader *l, const char *key) {
    const json_t *v = get(l->model, key);
    if (!v || json_is_false(v) || (json_is_string(v) && json_string_length(v) == 0) ||
        (json_is_number(v) && json_number_value(v) == 0))
        return LPO_OK;
    return lpo_fail(l->err, LPO_EUNSUPPORTED, "%s: model.%s is set: only BPE without it is supported",
                    l->path, key);
}

static lpo_status check_model(loader *l) {
    l->model = get(l->root, "model");
    if (!json_is_object(l->model))
        return lpo_fail(l->err, LPO_EFORMAT, "%s: key \"model\": expected an object", l->path);
    const char *type = type_of(l->model);
    /* The oldest files name no type: BPE is then the one with merges. */
    if (strcmp(type, "BPE") != 0 && !(*type == '\0' && get(l->model, "merges")))
        return refuse(l, "model.type", type, "BPE is");
    /* LLaMA's kind says so. */
    l->t->byte_fallback = flag(l->model, "byte_fallback", 0);
    l->t->fuse_unk = flag(l->model, "fuse_unk", 0);
    if (l->t->byte_fallback) l->t->kind = LPO_TOKENIZER_BYTE_FALLBACK_BPE;
    static const char *const absent[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix",
                                         "unk_token"};
    for (size_t i = 0; i < sizeof absent / sizeof *absent - (size_t)l->t->byte_fallback; i++) {
        lpo_status s = check_absent(l, absent[i]);
        if (s) return s;
    }
    l->t->ignore_merges = flag(l->model, "ignore_merges", 0);
    l->vocab = get(l->model, "vocab");
    l->added = get(l->root, "added_tokens");
    if (!json_is_object(l->vocab) || json_object_size(l->vocab) == 0)
        return lpo_fail(l->err, LPO_EFORMAT, "%s: key \"model.vocab\": expected an object with the tokens",
                        l->path);
    if (l->added && !json_is_array(l->added))
        return lpo_fail(l->err, LPO_EFORMAT, "%s: key \"added_tokens\": expected an array", l->path);
    return LPO_OK;
}

static int good_id(const json_t *v) {
    return json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) < MAX_IDS;
}

static lpo_status bad_added(loader *l, size_t i, const char *why) {
    return lpo_fail(l->err, LPO_EFORMAT, "%s: added_tokens[%zu]: %s", l->path, i, why);
}

/* Highest id and total size of the texts, every id and text checked on the way. */
static lpo_status measure(loader *l, int32_t *n_ids, size_t *n_bytes) {
    const char *token;
    json_t *v;
    size_t i;
    char buf[48];
    json_int_t top = 0;
    json_object_foreach((json_t *)l->vocab, token, v) {
        if (!good_id(v))
            return lpo_fail(l->err, LPO_EFORMAT, "%s: model.vocab[\"%s\"]: expected an id in 0..%d", l->path,
                            lpo_utf8_quote(buf, token, strlen(token)), MAX_IDS - 1);
        if (json_integer_value(v) > top) top = json_integer_value(v);
        *n_bytes += strlen(token);
    }
    if (l->added) {
        json_array_foreach((json_t *)l->added, i, v) {
            const json_t *content = json_object_get(v, "content"), *id = json_object_get(v, "id");
            if (!json_is_string(content)) return bad_added(l, i, "\"content\": expected a string");
            if (json_string_length(content) > MAX_ADDED_BYTES)
                return bad_added(l, i, "\"content\" is over 1024 bytes");
            if (!good_id(id)) return bad_added(l, i, "\"id\": expected an integer in 0..1048575");
            if (json_integer_value(id) > top) top = json_integer_value(id);
            *n_bytes += json_string_length(content);
        }
    }
    *n_ids = (int32_t)top + 1;
    return LPO_OK;
}

static lpo_status read_vocab(loader *l) {
    lpo_vocab *v = &l->t->vocab;
    const char *token;
    json_t *value;
    char buf[48], other[48];
    json_object_foreach((json_t *)l->vocab, token, value) {
        int32_t id = (int32_t)json_integer_value(value);
        const lpo_token *had = &v->tokens[id];
        if (had->flags)
            return lpo_fail(l->err, LPO_EFORMAT, "%s: model.vocab[\"%s\"]: id %d is also that of \"%s\"",
                            l->path, lpo_utf8_quote(buf, token, strlen(token)), id,
                            lpo_utf8_quote(other, v->bytes + had->off, had->len));
        lpo_vocab_add(v, id, token, strlen(token), LPO_TOKEN_MODEL);
    }
    const int fallback = l->t->kind == LPO_TOKENIZER_BYTE_FALLBACK_BPE;
    for (int b = 0; b < 256; b++) {
        snprintf(buf, sizeof buf, "<0x%02X>", b);
        l->t->byte_id[b] = fallback ? lpo_vocab_find(v, buf, 6)
                                    : lpo_vocab_find(v, l->t->byte_text[b], l->t->byte_text_len[b]);
    }
    const json_t *unk = get(l->model, "unk_token");
    l->t->unk_id = json_is_string(unk) && fallback
                       ? lpo_vocab_find(v, json_string_value(unk), json_string_length(unk))
                       : -1;
    if (json_is_string(unk) && fallback && l->t->unk_id < 0)
        return lpo_fail(l->err, LPO_EFORMAT, "%s: model.unk_token \"%s\" is not in model.vocab", l->path,
                        quote(buf, unk));
    return LPO_OK;
}

/* Adds one added token to the vocabulary and to the set it is searched with. */
static lpo_status read_added(loader *l, size_t i, const json_t *a) {
    lpo_tokenizer *t = l->t;
    const json_t *content = json_object_get(a, "content");
    const char *text = json_string_value(content);
    size_t n = json_string_length(content);
    int32_t id = (int32_t)json_integer_value(json_object_get(a, "id"));
    if (n == 0) return LPO_OK; /* the reference drops these too */
    int32_t had = lpo_vocab_find(&t->vocab, text, n);
    char why[160], buf[48];
    if (had >= 0 && had != id) {
        snprintf(why, sizeof why, "\"%s\" has id %d here but %d before", quote(buf, content), id, had);
        return bad_added(l, i, why);
    }
    if (had >= 0 && t->vocab.tokens[had].flags & LPO_TOKEN_ADDED) return bad_added(l, i, "listed twice");
    if (had < 0) {
        const lpo_token *taken = &t->vocab.tokens[id];
        if (taken->flags) {
            snprintf(why, sizeof why, "id %d is also that of \"%s\"", id,
                     lpo_utf8_quote(buf, t->vocab.bytes + taken->off, taken->len));
            return bad_added(l, i, why);
        }
        lpo_vocab_add(&t->vocab, id, text, n, 0);
    }
    int special = flag(a, "special", 0), normalized = flag(a, "normalized", !special);
    t->vocab.tokens[id].flags |=
        LPO_TOKEN_ADDED | (special ? LPO_TOKEN_SPECIAL : 0u) | (normalized ? LPO_TOKEN_NORMALIZED : 0u);
    lpo_added_token token = {id, (uint8_t)flag(a, "single_word", 0), (uint8_t)flag(a, "lstrip", 0),
                             (uint8_t)flag(a, "rstrip", 0)};
    if (!normalized) {
        lpo_added_put(&t->added_raw, token, text, n);
        return LPO_OK;
    }
    const char *form;
    char *owned;
    lpo_status s = lpo_tokenizer_normalize(&form, &n, &owned, t, text, n, l->err);
    if (s) return lpo_fail_in(l->err, s, "%s: added_tokens[%zu]", l->path, i);
    lpo_added_put(&t->added, token, form, n);
    free(owned);
    return LPO_OK;
}

/* The two texts of merge i, from "a b" or ["a", "b"]; pointers into the JSON. */
static lpo_status merge_texts(loader *l, size_t i, const json_t *m, const char *part[2], size_t len[2]) {
    if (json_is_array(m) && json_array_size(m) == 2 && json_is_string(json_array_get(m, 0)) &&
        json_is_string(json_array_get(m, 1))) {
        for (size_t k = 0; k < 2; k++) {
            part[k] = json_string_value(json_array_get(m, k));
            len[k] = json_string_length(json_array_get(m, k));
        }
        return LPO_OK;
    }
    const char *text = json_is_string(m) ? json_string_value(m) : NULL;
    const char *space = text ? strchr(text, ' ') : NULL;
    if (!space || strchr(space + 1, ' '))
        return lpo_fail(l->err, LPO_EFORMAT, "%s: model.merges[%zu]: expected \"a b\" or [\"a\", \"b\"]",
                        l->path, i);
    part[0] = text;
    len[0] = (size_t)(space - text);
    part[1] = space + 1;
    len[1] = strlen(space + 1);
    return LPO_OK;
}

/* The id of a merge's part or result: a token of the model itself, an added one does not count. */
static lpo_status merge_id(loader *l, size_t i, int32_t *id, const char *text, size_t n) {
    *id = lpo_vocab_find(&l->t->vocab, text, n);
    if (*id >= 0 && l->t->vocab.tokens[*id].flags & LPO_TOKEN_MODEL) return LPO_OK;
    char buf[48];
    return lpo_fail(l->err, LPO_EFORMAT, "%s: model.merges[%zu]: \"%s\" is not in model.vocab", l->path, i,
                    lpo_utf8_quote(buf, text, n));
}

static lpo_status read_merges(loader *l) {
    const json_t *merges = get(l->model, "merges");
    if (!json_is_array(merges))
        return lpo_fail(l->err, LPO_EFORMAT, "%s: key \"model.merges\": expected an array", l->path);
    size_t n = json_array_size(merges), cap = 0;
    if (lpo_map_init(&l->t->merges, n)) return no_memory(l);
    char *joined = NULL;
    lpo_status s = LPO_OK;
    for (size_t i = 0; i < n && s == LPO_OK; i++) {
        const char *part[2];
        size_t len[2];
        int32_t left = -1, right = -1, merged = -1;
        s = merge_texts(l, i, json_array_get(merges, i), part, len);
        if (s == LPO_OK && len[0] + len[1] > cap) {
            char *p = realloc(joined, cap = 2 * (len[0] + len[1]));
            if (p)
                joined = p;
            else
                s = no_memory(l);
        }
        if (s == LPO_OK) s = merge_id(l, i, &left, part[0], len[0]);
        if (s == LPO_OK) s = merge_id(l, i, &right, part[1], len[1]);
        if (s) break;
        memcpy(joined, part[0], len[0]);
        memcpy(joined + len[0], part[1], len[1]);
        s = merge_id(l, i, &merged, joined, len[0] + len[1]);
        /* A pair listed twice has the later rank, as in the reference. */
        if (s == LPO_OK)
            lpo_map_put(&l->t->merges, lpo_bpe_pair(left, right), (uint64_t)i << 32 | (uint32_t)merged);
    }
    free(joined);
    return s;
}

/* The steps of obj[key]: itself, or the members of a Sequence under `list`. *n = 0 when there is none. */
static lpo_status steps_of(loader *l, const char *key, const char *list, const json_t *step[LPO_MAX_SPLITS],
                           size_t *n) {
    const json_t *v = get(l->root, key);
    *n = 0;
    if (!v) return LPO_OK;
    if (strcmp(type_of(v), "Sequence") != 0) {
        step[(*n)++] = v;
        return LPO_OK;
    }
    const json_t *all = json_object_get(v, list);
    if (!json_is_array(all) || json_array_size(all) > LPO_MAX_SPLITS)
        return lpo_fail(l->err, LPO_EFORMAT, "%s: %s.%s: expected an array of at most %d steps", l->path, key,
                        list, LPO_MAX_SPLITS);
    for (; *n < json_array_size(all); (*n)++) step[*n] = json_array_get(all, *n);
    return LPO_OK;
}

/* A string of the file that must be short. */
static lpo_status read_short(loader *l, char dst[LPO_MAX_SHORT], const json_t *v, const char *key) {
    if (!json_is_string(v) || json_string_length(v) == 0 || json_string_length(v) >= LPO_MAX_SHORT ||
        strlen(json_string_value(v)) != json_string_length(v))
        return lpo_fail(l->err, LPO_EFORMAT, "%s: %s: expected a string of 1 to %d bytes", l->path, key,
                        LPO_MAX_SHORT - 1);
    snprintf(dst, LPO_MAX_SHORT, "%s", json_string_value(v));
    return LPO_OK;
}

/* LLaMA's: Prepend, then Replace of a plain string. */
static lpo_status read_fallback_normalizer(loader *l) {
    const json_t *step[LPO_MAX_SPLITS];
    size_t n;
    lpo_status s = steps_of(l, "normalizer", "normalizers", step, &n);
    for (size_t i = 0; i < n && s == LPO_OK; i++) {
        const char *type = type_of(step[i]);
        if (!strcmp(type, "Prepend") && i == 0) {
            s = read_short(l, l->t->prepend, json_object_get(step[i], "prepend"), "normalizer Prepend");
        } else if (!strcmp(type, "Replace") && i + 1 == n) {
            s = read_short(l, l->t->replace_from,
                           json_object_get(json_object_get(step[i], "pattern"), "String"),
                           "normalizer Replace.pattern.String");
            if (!s)
                s = read_short(l, l->t->replace_to, json_object_get(step[i], "content"),
                               "normalizer Replace.content");
        } else {
            s = refuse(l, "normalizer", type, "with byte_fallback, Prepend, then Replace, are");
        }
    }
    return s;
}

static lpo_status read_normalizer(loader *l) {
    if (l->t->kind == LPO_TOKENIZER_BYTE_FALLBACK_BPE) return read_fallback_normalizer(l);
    const json_t *step[LPO_MAX_SPLITS];
    size_t n;
    lpo_status s = steps_of(l, "normalizer", "normalizers", step, &n);
    for (size_t i = 0; i < n && s == LPO_OK; i++) {
        if (strcmp(type_of(step[i]), "NFC") != 0)
            return refuse(l, "normalizer", type_of(step[i]), "NFC and none are");
        l->t->nfc = 1;
    }
    return s;
}

static lpo_status add_split(loader *l, const char *pattern, size_t n, int literal, const char *key) {
    lpo_tokenizer *t = l->t;
    char where[600];
    snprintf(where, sizeof where, "%s: %s", l->path, key);
    if (t->n_splits == LPO_MAX_SPLITS)
        return lpo_fail(l->err, LPO_ELIMIT, "%s: more than %d splits", where, LPO_MAX_SPLITS);
    lpo_status s = lpo_split_compile(&t->splits[t->n_splits], pattern, n, literal, where, l->err);
    if (s == LPO_OK) t->n_splits++;
    return s;
}

static lpo_status read_split(loader *l, const json_t *step) {
    const json_t *pattern = json_object_get(step, "pattern"), *regex = json_object_get(pattern, "Regex"),
                 *string = json_object_get(pattern, "String"), *behavior = json_object_get(step, "behavior");
    const char *how = json_is_string(behavior) ? json_string_value(behavior) : "";
    /* Isolated keeps matches and gaps alike, so "invert" changes nothing. */
    if (strcmp(how, "Isolated") != 0) return refuse(l, "pre_tokenizer Split.behavior", how, "Isolated is");
    const json_t *text = regex ? regex : string;
    if (!json_is_string(text))
        return lpo_fail(l->err, LPO_EFORMAT,
                        "%s: pre_tokenizer Split.pattern: expected {\"Regex\": ...} or {\"String\": ...}",
                        l->path);
    return add_split(l, json_string_value(text), json_string_length(text), !regex,
                     "pre_tokenizer Split.pattern");
}

/* None, or Metaspace. */
static lpo_status read_metaspace(loader *l) {
    const json_t *step[LPO_MAX_SPLITS];
    size_t n;
    lpo_status s = steps_of(l, "pre_tokenizer", "pretokenizers", step, &n);
    if (s || n == 0) return s;
    if (n > 1 || strcmp(type_of(step[0]), "Metaspace"))
        return refuse(l, "pre_tokenizer", type_of(step[0]), "with byte_fallback, Metaspace and none are");
    const char *mark = json_string_value(json_object_get(step[0], "replacement"));
    if (!mark || strcmp(mark, "\xe2\x96\x81"))
        return refuse(l, "pre_tokenizer Metaspace.replacement", mark ? mark : "", "U+2581 is");
    const char *scheme = json_string_value(json_object_get(step[0], "prepend_scheme"));
    if (!scheme) scheme = flag(step[0], "add_prefix_space", 1) ? "always" : "never";
    static const char *const names[] = {"", "never", "first", "always"};
    for (int i = 1; i < 4; i++)
        if (!strcmp(scheme, names[i])) l->t->meta = (lpo_meta)i;
    l->t->meta_split = flag(step[0], "split", 1);
    return l->t->meta != LPO_META_NONE
               ? LPO_OK
               : refuse(l, "pre_tokenizer Metaspace.prepend_scheme", scheme, "never, first and always are");
}

static lpo_status read_pre_tokenizer(loader *l) {
    if (l->t->kind == LPO_TOKENIZER_BYTE_FALLBACK_BPE) return read_metaspace(l);
    const json_t *step[LPO_MAX_SPLITS];
    size_t n;
    lpo_status s = steps_of(l, "pre_tokenizer", "pretokenizers", step, &n);
    if (s) return s;
    if (n == 0 || strcmp(type_of(step[n - 1]), "ByteLevel") != 0)
        return refuse(l, "pre_tokenizer", n ? type_of(step[n - 1]) : "none",
                      "ByteLevel, alone or after Splits, is");
    for (size_t i = 0; i + 1 < n; i++) {
        if (strcmp(type_of(step[i]), "Split") != 0)
            return refuse(l, "pre_tokenizer", type_of(step[i]), "Split is");
        if ((s = read_split(l, step[i]))) return s;
    }
    l->t->prefix_space = flag(step[n - 1], "add_prefix_space", 1);
    if (l->t->prefix_space && n > 1)
        return refuse(l, "pre_tokenizer", "add_prefix_space", "with splits before it, only false is");
    if (!flag(step[n - 1], "use_regex", 1)) return LPO_OK;
    return add_split(l, GPT2_PATTERN, sizeof GPT2_PATTERN - 1, 0, "pre_tokenizer ByteLevel");
}

/* TemplateProcessing that puts special tokens in front of the text, and nothing behind it. */
static lpo_status read_template(loader *l, const json_t *step) {
    const json_t *single = json_object_get(step, "single"), *v;
    const json_t *special = json_object_get(step, "special_tokens");
    size_t i, k;
    int seen = 0;
    if (!json_is_array(single))
        return lpo_fail(l->err, LPO_EFORMAT, "%s: post_processor.single: expected an array", l->path);
    json_array_foreach((json_t *)single, i, v) {
        const char *id = json_string_value(json_object_get(json_object_get(v, "SpecialToken"), "id"));
        if (json_object_get(v, "Sequence")) {
            seen = 1;
            continue;
        }
        const json_t *ids = id ? json_object_get(json_object_get(special, id), "ids") : NULL, *x;
        if (seen)
            return refuse(l, "post_processor TemplateProcessing", id ? id : "",
                          "no token behind the text is");
        if (!json_is_array(ids) || !json_array_size(ids))
            return lpo_fail(l->err, LPO_EFORMAT, "%s: post_processor.special_tokens: no ids for \"%.20s\"",
                            l->path, id ? id : "");
        json_array_foreach((json_t *)ids, k, x) {
            if (!good_id(x) || l->t->n_lead == LPO_MAX_LEAD)
                return lpo_fail(l->err, LPO_EFORMAT, "%s: post_processor: expected at most %d ids in 0..%d",
                                l->path, LPO_MAX_LEAD, MAX_IDS - 1);
            l->t->lead[l->t->n_lead++] = (int32_t)json_integer_value(x);
        }
    }
    return LPO_OK;
}

/* Replace(U+2581 -> space), ByteFallback, Fuse, and Strip of the space in front. */
static lpo_status check_fallback_decoder(loader *l) {
    static const char *const known[] = {"Replace", "ByteFallback", "Fuse", "Strip"};
    const json_t *step[LPO_MAX_SPLITS];
    size_t n;
    lpo_status s = steps_of(l, "decoder", "decoders", step, &n);
    for (size_t i = 0; i < n && !s; i++)
        if (i > 3 || strcmp(type_of(step[i]), known[i]))
            s = refuse(l, "decoder", type_of(step[i]),
                       "with byte_fallback, Replace, ByteFallback, Fuse, Strip are");
    if (!s && n < 3)
        s = refuse(l, "decoder", "", "with byte_fallback, Replace, ByteFallback, Fuse, Strip are");
    if (s) return s;
    const char *mark = json_string_value(json_object_get(json_object_get(step[0], "pattern"), "String"));
    const char *space = json_string_value(json_object_get(step[0], "content"));
    if (!mark || strcmp(mark, "\xe2\x96\x81") || !space || strcmp(space, " "))
        return refuse(l, "decoder Replace", mark ? mark : "", "U+2581 by a space is");
    if (n == 4) {
        const char *strip = json_string_value(json_object_get(step[3], "content"));
        if (!strip || strcmp(strip, " ") || json_integer_value(json_object_get(step[3], "start")) != 1 ||
            json_integer_value(json_object_get(step[3], "stop")) != 0)
            return refuse(l, "decoder Strip", strip ? strip : "", "one space at the start is");
        l->t->strip_space = 1;
    }
    return LPO_OK;
}

/* Tokens in front are kept for whoever writes prompts; otherwise ids must not depend on a post-processor.
 * Decoding is the inverse of ByteLevel alone, or of byte fallback. */
static lpo_status check_ends(loader *l) {
    const json_t *step[LPO_MAX_SPLITS];
    size_t n;
    lpo_status s = steps_of(l, "post_processor", "processors", step, &n);
    for (size_t i = 0; i < n && !s; i++) {
        if (strcmp(type_of(step[i]), "TemplateProcessing") == 0)
            s = read_template(l, step[i]);
        else if (strcmp(type_of(step[i]), "ByteLevel") != 0)
            s = refuse(l, "post_processor", type_of(step[i]), "ByteLevel, TemplateProcessing and none are");
    }
    if (s) return s;
    if (l->t->kind == LPO_TOKENIZER_BYTE_FALLBACK_BPE) return check_fallback_decoder(l);
    const json_t *decoder = get(l->root, "decoder");
    if (strcmp(type_of(decoder), "ByteLevel") != 0)
        return refuse(l, "decoder", type_of(decoder), "ByteLevel is");
    return LPO_OK;
}

static lpo_status read_tokens(loader *l) {
    int32_t n_ids = 0;
    size_t n_bytes = 0, i;
    const json_t *a;
    lpo_status s = measure(l, &n_ids, &n_bytes);
    if (s) return s;
    size_t n_added = l->added ? json_array_size(l->added) : 0;
    /* NFC at most triples UTF-8; a short string may stand in front, or for every byte. */
    const size_t grown =
        l->t->kind == LPO_TOKENIZER_BYTE_FALLBACK_BPE ? LPO_MAX_SHORT * (n_bytes + n_added) : 0;
    if (lpo_vocab_init(&l->t->vocab, n_ids, n_bytes) || lpo_added_init(&l->t->added_raw, n_added, n_bytes) ||
        lpo_added_init(&l->t->added, n_added, 3 * n_bytes + grown))
        return no_memory(l);
    if ((s = read_vocab(l))) return s;
    for (i = 0; i < n_added; i++) {
        a = json_array_get(l->added, i);
        if ((s = read_added(l, i, a))) return s;
    }
    return LPO_OK;
}

static lpo_status load(loader *l) {
    lpo_tokenizer_alphabet(l->t);
    lpo_status s = check_model(l);
    if (s == LPO_OK) s = read_normalizer(l);
    if (s == LPO_OK) s = read_pre_tokenizer(l);
    if (s == LPO_OK) s = check_ends(l);
    if (s == LPO_OK) s = read_tokens(l);
    if (s == LPO_OK) s = read_merges(l);
    return s;
}

lpo_status lpo_tokenizer_load(lpo_tokenizer **out, const char *path, lpo_error *err) {
    *out = NULL;
    struct stat st;
    char *file =
        stat(path, &st) == 0 && S_ISDIR(st.st_mode) ? lpo_path_join(path, "tokenizer.json") : strdup(path);
    json_t *root = NULL;
    lpo_tokenizer *t = calloc(1, sizeof *t);
    lpo_status s = file && t ? lpo_json_load(&root, file, MAX_FILE, err)
                             : lpo_fail(err, LPO_ENOMEM, "%s: out of memory", path);
    if (s == LPO_OK) {
        loader l = {.t = t, .path = file, .root = root, .err = err};
        s = json_is_object(root) ? load(&l) : lpo_fail(err, LPO_EFORMAT, "%s: expected a JSON object", file);
    }
    if (s == LPO_OK)
        *out = t;
    else
        lpo_tokenizer_destroy(t);
    json_decref(root);
    free(file);
    return s;
}
