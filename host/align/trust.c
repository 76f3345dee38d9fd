/* SPDX-License-Identifier: Apache-2.0 */
/* trust.c -- see trust.h. Word lists are bounded: an answer beyond MAX_WORDS words is compared by its first
 * MAX_WORDS. */
#include "align/trust.h"

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
