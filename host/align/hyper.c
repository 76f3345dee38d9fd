/* SPDX-License-Identifier: Apache-2.0 */
/* hyper.c -- parsing and bounds of hyper-parameters; see hyper.h. */
#include "align/hyper.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct hyper_info {
    const char *name, *aliases;
    double min, max;
    char kind;
    const char *choices;
} hyper_info;

static const hyper_info INFO[LPO_N_HYPER] = {
#define LPO_X(id, aliases, min, max, kind, choices) {#id, aliases, min, max, kind, choices},
    LPO_HYPER_LIST(LPO_X)
#undef LPO_X
};
static_assert(LPO_N_HYPER <= 64, "a mask of hyper-parameters is one uint64_t");

/* One of the words of `words`, separated by sep, equals text[0..n). */
static int word_at(const char *words, char sep, const char *text, size_t n) {
    while (*words) {
        const char *end = strchr(words, sep);
        size_t len = end ? (size_t)(end - words) : strlen(words);
        if (len == n && n > 0 && memcmp(words, text, n) == 0) return 1;
        words += len + (end != NULL);
    }
    return 0;
}

int lpo_word_in(const char *words, const char *key, size_t key_len) {
    return word_at(words, ' ', key, key_len);
}

static int find(uint64_t known, const char *key, size_t n) {
    for (int i = 0; i < LPO_N_HYPER; i++)
        if ((known >> i & 1) && (word_at(INFO[i].name, ' ', key, n) || word_at(INFO[i].aliases, ' ', key, n)))
            return i;
    return -1;
}

/* Index of text among "a|b,b2|c", -1 when it is none of them. */
static int choice_index(const char *choices, const char *text) {
    for (int k = 0; *choices; k++) {
        size_t len = strcspn(choices, "|");
        char one[80];
        assert(len < sizeof one);
        memcpy(one, choices, len);
        one[len] = 0;
        if (word_at(one, ',', text, strlen(text))) return k;
        choices += len + (choices[len] == '|');
    }
    return -1;
}

static int is_auto(const char *s) {
    return !strcmp(s, "auto") || !strcmp(s, "none") || !strcmp(s, "null") || !strcmp(s, "default");
}

static lpo_status parse(double *out, int id, const char *text, const char *objective, lpo_error *err) {
    const hyper_info *f = &INFO[id];
    if (f->kind == 'c') {
        int k = choice_index(f->choices, text);
        if (k < 0)
            return lpo_fail(err, LPO_EINVAL, "%s: %s=%.60s: expected one of %s", objective, f->name, text,
                            f->choices);
        *out = k;
        return LPO_OK;
    }
    if (f->kind == 'b' && (!strcmp(text, "true") || !strcmp(text, "false"))) {
        *out = text[0] == 't';
        return LPO_OK;
    }
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end || !isfinite(v))
        return lpo_fail(err, LPO_EINVAL, "%s: %s=%.60s: expected a number", objective, f->name, text);
    if (v < f->min || v > f->max || (f->kind == '(' && v <= f->min))
        return lpo_fail(err, LPO_EINVAL, "%s: %s=%g is out of range: give a value in %c%g, %g]", objective,
                        f->name, v, f->kind == '(' ? '(' : '[', f->min, f->max);
    if ((f->kind == 'i' || f->kind == 'b') && v != floor(v))
        return lpo_fail(err, LPO_EINVAL, "%s: %s=%g: expected a whole number", objective, f->name, v);
    *out = v;
    return LPO_OK;
}

/* The next "key=value" of a defaults string, the value copied to buf; NULL at its end. */
static const char *next_default(const char *s, const char **key, size_t *key_len, char buf[40]) {
    while (*s == ' ') s++;
    if (!*s) return NULL;
    size_t k = strcspn(s, "="), v = strcspn(s + k, " ");
    assert(s[k] == '=' && v > 1 && v < 40);
    *key = s;
    *key_len = k;
    memcpy(buf, s + k + 1, v - 1);
    buf[v - 1] = 0;
    return s + k + v;
}

void lpo_hypers_init(lpo_hypers *h, const char *defaults) {
    const char *key;
    size_t n;
    char value[40];
    memset(h, 0, sizeof *h);
    for (int i = 0; i < LPO_N_HYPER; i++) h->value[i] = NAN;
    for (const char *s = defaults; (s = next_default(s, &key, &n, value));) {
        int id = 0;
        while (id < LPO_N_HYPER && !word_at(INFO[id].name, ' ', key, n)) id++;
        assert(id < LPO_N_HYPER && !(h->known >> id & 1));
        h->known |= UINT64_C(1) << id;
        if (!is_auto(value)) {
            lpo_status s2 = parse(&h->value[id], id, value, "table", NULL);
            assert(s2 == LPO_OK);
            (void)s2;
        }
    }
}

lpo_status lpo_hypers_set(lpo_hypers *h, const char *defaults, const char *key, size_t key_len,
                          const char *value, const char *objective, lpo_error *err) {
    int id = find(h->known, key, key_len);
    if (id < 0) return LPO_ENOTFOUND;
    if (is_auto(value)) {
        lpo_hypers fresh;
        lpo_hypers_init(&fresh, defaults);
        h->value[id] = fresh.value[id];
        h->given &= ~(UINT64_C(1) << id);
        return LPO_OK;
    }
    lpo_status s = parse(&h->value[id], id, value, objective, err);
    if (s == LPO_OK) h->given |= UINT64_C(1) << id;
    return s;
}

void lpo_hypers_list(char *out, size_t cap, uint64_t mask) {
    size_t at = 0;
    if (cap) out[0] = 0;
    for (int i = 0; i < LPO_N_HYPER && at + 1 < cap; i++)
        if (mask >> i & 1) {
            int n = snprintf(out + at, cap - at, "%s%s", at ? " " : "", INFO[i].name);
            at += n > 0 ? (size_t)n : 0;
        }
}
