/* SPDX-License-Identifier: Apache-2.0 */
/* trust.c -- see trust.h. Word lists are bounded: an answer beyond MAX_WORDS words is compared by its first
 * MAX_WORDS. */
#include "align/trust.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_WORDS = 1024, MAX_WORD = 48 };

/* Articles, auxiliaries, pronouns, prepositions and the verbs an answer is wrapped in. */
static const char *const FUNCTION_WORDS[] = {
    "a",     "also",  "an",    "and",    "are",   "as",     "at",        "be",      "by",
    "can",   "clip",  "color", "colour", "come",  "comes",  "direction", "does",    "for",
    "from",  "go",    "goes",  "going",  "has",   "have",   "here",      "i",       "in",
    "is",    "it",    "its",   "move",   "moves", "moving", "object",    "objects", "of",
    "on",    "scene", "see",   "seen",   "shape", "shapes", "shows",     "so",      "that",
    "the",   "then",  "there", "they",   "thing", "this",   "to",        "toward",  "towards",
    "video", "was",   "we",    "were",   "which", "while",  "with",      "you",
};

typedef struct words {
    int n;
    char word[MAX_WORDS][MAX_WORD];
} words;

static bool is_function_word(const char *w) {
    for (size_t i = 0; i < sizeof FUNCTION_WORDS / sizeof *FUNCTION_WORDS; i++)
        if (!strcmp(w, FUNCTION_WORDS[i])) return true;
    return false;
}

static bool word_byte(unsigned char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 128;
}

static void split(words *out, const char *text, bool content_only) {
    out->n = 0;
    for (const char *p = text; *p && out->n < MAX_WORDS;) {
        while (*p && !word_byte((unsigned char)*p)) p++;
        size_t n = 0;
        char *w = out->word[out->n];
        for (; word_byte((unsigned char)*p); p++)
            if (n < MAX_WORD - 1) w[n++] = (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
        w[n] = 0;
        if (n && !(content_only && is_function_word(w))) out->n++;
    }
}

static int by_word(const void *a, const void *b) {
    return strcmp(a, b);
}

/* Words in common, as multisets; sorts both. */
static int overlap(words *a, words *b) {
    qsort(a->word, (size_t)a->n, MAX_WORD, by_word);
    qsort(b->word, (size_t)b->n, MAX_WORD, by_word);
    int same = 0;
    for (int i = 0, j = 0; i < a->n && j < b->n;) {
        int c = strcmp(a->word[i], b->word[j]);
        same += c == 0;
        i += c <= 0;
        j += c >= 0;
    }
    return same;
}

/* Precision and recall's harmonic mean is 2*common/(n_a+n_b). */
static double f1(const char *answer, const char *truth, bool content_only, bool *equal) {
    words *a = malloc(2 * sizeof *a), *b = a + 1;
    if (!a) return 0;
    split(a, answer, content_only);
    split(b, truth, content_only);
    int same = overlap(a, b), total = a->n + b->n;
    if (equal) *equal = 2 * same == total;
    free(a);
    return total ? 2.0 * same / total : 1.0;
}

double lpo_trust_token_f1(const char *answer, const char *truth) {
    return f1(answer, truth, false, NULL);
}
double lpo_trust_content_f1(const char *answer, const char *truth) {
    return f1(answer, truth, true, NULL);
}

bool lpo_trust_content_equal(const char *answer, const char *truth) {
    bool equal = false;
    f1(answer, truth, true, &equal);
    return equal;
}

bool lpo_trust_exact(const char *answer, const char *truth) {
    words *a = malloc(2 * sizeof *a), *b = a + 1;
    if (!a) return false;
    split(a, answer, false);
    split(b, truth, false);
    bool same = a->n == b->n;
    for (int i = 0; same && i < a->n; i++) same = !strcmp(a->word[i], b->word[i]);
    free(a);
    return same;
}

enum { MAX_CHARS = 4096, MAX_ORDER = 6 };

/* The text's characters (UTF-8 code points; a stray byte stands for itself) without white space, lower-cased
 * in ASCII. */
static int characters(uint32_t *out, const char *text) {
    int n = 0;
    for (const unsigned char *p = (const unsigned char *)text; *p && n < MAX_CHARS;) {
        uint32_t c = *p++;
        if (c == ' ' || (c >= '\t' && c <= '\r')) continue;
        if (c >= 0xc0)
            while ((*p & 0xc0) == 0x80) c = c << 8 | *p++;
        out[n++] = c >= 'A' && c <= 'Z' ? c + 32 : c;
    }
    return n;
}

static int by_number(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Every n-gram as a number: FNV-1a over its characters. Two that differ collide once in 2^64. */
static int grams(uint64_t *out, const uint32_t *c, int n_chars, int order) {
    int n = n_chars - order + 1;
    for (int i = 0; i < n; i++) {
        out[i] = 14695981039346656037u;
        for (int k = 0; k < order; k++) out[i] = (out[i] ^ c[i + k]) * 1099511628211u;
    }
    if (n > 1) qsort(out, (size_t)n, sizeof *out, by_number);
    return n > 0 ? n : 0;
}

double lpo_trust_chrf(const char *answer, const char *truth) {
    struct {
        uint32_t text[2][MAX_CHARS];
        uint64_t gram[2][MAX_CHARS];
    } *m = malloc(sizeof *m);
    if (!m) return 0;
    const int n_a = characters(m->text[0], answer), n_b = characters(m->text[1], truth);
    double precision = 0, recall = 0;
    int orders = 0;
    for (int order = 1; order <= MAX_ORDER; order++) {
        const int a = grams(m->gram[0], m->text[0], n_a, order),
                  b = grams(m->gram[1], m->text[1], n_b, order);
        if (!a || !b) break;
        int same = 0;
        for (int i = 0, k = 0; i < a && k < b;) {
            const uint64_t x = m->gram[0][i], y = m->gram[1][k];
            same += x == y;
            i += x <= y;
            k += x >= y;
        }
        precision += (double)same / a;
        recall += (double)same / b;
        orders++;
    }
    free(m);
    if (!orders) return n_a == n_b;
    const double p = precision / orders, r = recall / orders;
    return p + r > 0 ? 5 * p * r / (4 * p + r) : 0;
}

static double exact_or_not(const char *answer, const char *truth) {
    return lpo_trust_exact(answer, truth);
}

lpo_trust_fn *lpo_trust_by_name(const char *name) {
    static const struct {
        const char *name;
        lpo_trust_fn *fn;
    } all[] = {{"content_f1", lpo_trust_content_f1},
               {"token_f1", lpo_trust_token_f1},
               {"chrf", lpo_trust_chrf},
               {"exact", exact_or_not}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!strcmp(all[i].name, name)) return all[i].fn;
    return NULL;
}
