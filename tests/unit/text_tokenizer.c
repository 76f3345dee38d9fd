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
/* Vicuna's shape: byte fallback, Prepend and Replace, no pre-tokenizer. */
Test(tokenizer, llama_ids_are_the_reference_ids) {
    compare_all("llama");
}
/* Byte fallback with bytes missing: unknown tokens; Metaspace on the first piece alone. */
Test(tokenizer, metaspace_ids_are_the_reference_ids) {
    compare_all("meta");
}

/* The <s> the reference puts in front of a prompt (add_special_tokens), which encode leaves to the caller. */
Test(tokenizer, llama_leads_with_its_first_token) {
    lpo_tokenizer *t = open_golden("llama");
    size_t n;
    const int32_t *lead = lpo_tokenizer_lead(t, &n);
    cr_assert(n == 1 && lead[0] == 1);
    lpo_tokenizer_destroy(t);
    t = open_golden("qwen");
    lpo_tokenizer_lead(t, &n);
    cr_assert(n == 0);
    lpo_tokenizer_destroy(t);
}

/* There is no splitting here: a merge that looks at every pair again and again would take minutes. */
Test(tokenizer, a_megabyte_without_spaces_is_quick) {
    static const char *const kinds[] = {"llama", "qwen"};
    const size_t size = 1 << 20;
    char *text = malloc(size);
    lpo_rng r = lpo_rng_init(4, 0);
    for (size_t i = 0; i < size; i++) text[i] = (char)('a' + lpo_rng_below(&r, 26));
    for (size_t k = 0; k < 2; k++) {
        lpo_tokenizer *t = open_golden(kinds[k]);
        lpo_error err = {0};
        lpo_ids ids = {0};
        struct timespec from, to;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
        cr_assert(lpo_tokenizer_encode(&ids, t, text, size, &err) == LPO_OK, "%s", err.msg);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
        const double s = (double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec);
        fprintf(stderr, "%s: 1 MiB in %.2f s of processor, %zu ids\n", kinds[k], s, ids.n);
        cr_expect(s < 20, "%s took %g s", kinds[k],
                  s); /* loose: sanitizers, busy machines; see the line above */
        lpo_ids_clear(&ids);
        lpo_tokenizer_destroy(t);
    }
    free(text);
}
