/* SPDX-License-Identifier: Apache-2.0 */
/* text_tokenizer.c -- ids and decoded text must be what the reference library (`tokenizers`) makes of the
 * same file: the lines in tests/golden/tokenizer were recorded from it by tests/golden/tokenizer.py.
 * LEANPO_TOKENIZER_GOLDEN names another folder of the same form, for longer comparisons. */
#include "base/file.h"
#include "base/rng.h"
#include "leanpo/text.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *golden(char buf[512], const char *name) {
    const char *dir = getenv("LEANPO_TOKENIZER_GOLDEN");
    snprintf(buf, 512, "%s/%s", dir ? dir : TESTS_DIR "/golden/tokenizer", name);
    return buf;
}

static lpo_tokenizer *open_golden(const char *kind) {
    char path[512];
    lpo_error err = {0};
    lpo_tokenizer *t;
    lpo_status s = lpo_tokenizer_load(&t, golden(path, kind), &err);
    cr_assert(s == LPO_OK, "%s", err.msg);
    return t;
}

/* 1 when the decoded text equals want. */
static int decodes(lpo_tokenizer *t, const lpo_ids *ids, int skip_special, const json_t *want) {
    char *text;
    size_t n;
    lpo_error err = {0};
    cr_assert(lpo_tokenizer_decode(&text, &n, t, ids->ids, ids->n, skip_special, &err) == LPO_OK, "%s",
              err.msg);
    int same = n == json_string_length(want) && memcmp(text, json_string_value(want), n) == 0;
    free(text);
    return same;
}

/* One line of sample.jsonl: 1 when ids and both decoded texts are the reference's. */
static int agrees(lpo_tokenizer *t, const json_t *line) {
    const json_t *text = json_object_get(line, "text"), *want = json_object_get(line, "ids");
    lpo_error err = {0};
    lpo_ids ids = {0};
    lpo_status s = lpo_tokenizer_encode(&ids, t, json_string_value(text), json_string_length(text), &err);
    int same = s == LPO_OK && ids.n == json_array_size(want);
    for (size_t i = 0; same && i < ids.n; i++)
        same = ids.ids[i] == json_integer_value(json_array_get(want, i));
    same = same && decodes(t, &ids, 0, json_object_get(line, "back")) &&
           decodes(t, &ids, 1, json_object_get(line, "plain"));
    lpo_ids_clear(&ids);
    return same;
}

static void compare_all(const char *kind) {
    char path[512], name[64];
    snprintf(name, sizeof name, "%s/sample.jsonl", kind);
    lpo_tokenizer *t = open_golden(kind);
    FILE *f = fopen(golden(path, name), "r");
    cr_assert(f != NULL, "%s", path);
    char *line = NULL;
    size_t cap = 0, n = 0, wrong = 0;
    for (ssize_t len; (len = getline(&line, &cap, f)) > 0; n++) {
        json_t *v = json_loadb(line, (size_t)len, JSON_ALLOW_NUL, NULL);
        cr_assert(v != NULL);
        if (!agrees(t, v) && wrong++ < 20) fprintf(stderr, "%s:%zu: differs: %.200s\n", path, n + 1, line);
        json_decref(v);
    }
    fprintf(stderr, "%s: %zu lines, %zu differ\n", kind, n, wrong);
    free(line);
    fclose(f);
    lpo_tokenizer_destroy(t);
    cr_assert(n >= 300);
    cr_assert(wrong == 0, "%zu of %zu lines differ from the reference", wrong, n);
}

/* The Qwen2 shape: NFC, regex split, added tokens with every flag; merges as arrays. */
Test(tokenizer, qwen_ids_are_the_reference_ids) {
    compare_all("qwen");
}
/* The GPT-2 shape: ByteLevel's own pattern, a prefix space; merges as strings; ignore_merges. */
Test(tokenizer, gpt2_ids_are_the_reference_ids) {
    compare_all("gpt2");
}
/* Several splits, each seeing only the pieces of the one before; gaps between matches, empty matches,
 * shorthand classes. */
Test(tokenizer, split_ids_are_the_reference_ids) {
    compare_all("splits");
}
