/* SPDX-License-Identifier: Apache-2.0 */
/* text_hostile.c -- tokenizer files and texts meant to break the library: each gives a status and a message
 * that names the file, the key and the index, and nothing takes quadratic time. */
#include "base/file.h"
#include "leanpo/text.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ENDS "\"decoder\":{\"type\":\"ByteLevel\"}"
#define BYTES                                                                                                \
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}," ENDS
#define MODEL(vocab, merges) "\"model\":{\"type\":\"BPE\",\"vocab\":{" vocab "},\"merges\":[" merges "]}"
#define AB                   "\"a\":0,\"b\":1,\"ab\":2"
#define UNLINE                                                                                               \
    "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"\xe2\x96\x81\"},"  \
    "\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}]}"
#define LLAMA(normalizer, pre, decoder)                                                                      \
    "{\"normalizer\":" normalizer ",\"pre_tokenizer\":" pre ",\"decoder\":" decoder                          \
    ",\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"vocab\":{\"a\":0},\"merges\":[]}}"
#define SPLIT(pattern)                                                                                       \
    "{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{"         \
    "\"Regex\":\"" pattern                                                                                   \
    "\"},\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"    \
    "\"use_regex\":false}]}," ENDS "," MODEL(AB, "\"a b\"") "}"

static lpo_status load_text(lpo_tokenizer **t, const char *json, lpo_error *err) {
    char path[] = "/tmp/leanpo-text-XXXXXX";
    int fd = mkstemp(path);
    cr_assert(fd >= 0);
    cr_assert(write(fd, json, strlen(json)) == (ssize_t)strlen(json));
    close(fd);
    lpo_status s = lpo_tokenizer_load(t, path, err);
    unlink(path);
    return s;
}

static lpo_tokenizer *load_good(const char *json) {
    lpo_tokenizer *t;
    lpo_error err = {0};
    lpo_status s = load_text(&t, json, &err);
    cr_assert(s == LPO_OK, "%s", err.msg);
    return t;
}

typedef struct bad {
    const char *json;
    lpo_status status;
    const char *says; /* what the message must contain */
} bad;

static const bad files[] = {
    {"", LPO_EFORMAT, "line 1"},
    {"{\"model\":", LPO_EFORMAT, "line 1"},
    {"[]", LPO_EFORMAT, "expected a JSON object"},
    {"{" BYTES "}", LPO_EFORMAT, "\"model\""},
    {"{" BYTES ",\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", LPO_EUNSUPPORTED, "Unigram"},
    {"{" BYTES ",\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"vocab\":{\"a\":0},\"merges\":[]}}",
     LPO_EUNSUPPORTED, "with byte_fallback"},
    {"{" BYTES ",\"model\":{\"type\":\"BPE\",\"dropout\":0.1,\"vocab\":{\"a\":0},\"merges\":[]}}",
     LPO_EUNSUPPORTED, "model.dropout"},
    {"{" BYTES "," MODEL("", "") "}", LPO_EFORMAT, "model.vocab"},
    {"{" BYTES "," MODEL("\"a\":-1", "") "}", LPO_EFORMAT, "model.vocab[\"a\"]"},
    {"{" BYTES "," MODEL("\"a\":1048576", "") "}", LPO_EFORMAT, "0..1048575"},
    {"{" BYTES "," MODEL("\"a\":\"0\"", "") "}", LPO_EFORMAT, "model.vocab[\"a\"]"},
    {"{" BYTES "," MODEL("\"a\":7,\"b\":7", "") "}", LPO_EFORMAT, "id 7 is also that of \"a\""},
    {"{" BYTES "," MODEL("\"a\":0,\"a\":1", "") "}", LPO_EFORMAT, "duplicate"},
    {"{" BYTES "," MODEL(AB, "\"a b\",\"a c\"") "}", LPO_EFORMAT, "model.merges[1]: \"c\""},
    {"{" BYTES "," MODEL(AB, "\"b a\"") "}", LPO_EFORMAT, "model.merges[0]: \"ba\""},
    {"{" BYTES "," MODEL(AB, "\"ab\"") "}", LPO_EFORMAT, "model.merges[0]"},
    {"{" BYTES "," MODEL(AB, "\"a b c\"") "}", LPO_EFORMAT, "model.merges[0]"},
    {"{" BYTES "," MODEL(AB, "[\"a\",\"b\",\"c\"]") "}", LPO_EFORMAT, "model.merges[0]"},
    {"{" BYTES "," MODEL(AB, "[\"a\",5]") "}", LPO_EFORMAT, "model.merges[0]"},
    {"{" BYTES
     ",\"added_tokens\":[{\"id\":3,\"content\":\"x\"},{\"id\":3,\"content\":\"y\"}]," MODEL(AB, "") "}",
     LPO_EFORMAT, "added_tokens[1]: id 3"},
    {"{" BYTES ",\"added_tokens\":[{\"id\":3,\"content\":\"a\"}]," MODEL(AB, "") "}", LPO_EFORMAT,
     "added_tokens[0]"},
    {"{" BYTES
     ",\"added_tokens\":[{\"id\":3,\"content\":\"x\"},{\"id\":3,\"content\":\"x\"}]," MODEL(AB, "") "}",
     LPO_EFORMAT, "listed twice"},
    {"{" BYTES ",\"added_tokens\":[7]," MODEL(AB, "") "}", LPO_EFORMAT, "added_tokens[0]: \"content\""},
    {"{" BYTES ",\"added_tokens\":[{\"id\":3,\"content\":\"ba\"}]," MODEL(AB, "\"b a\"") "}", LPO_EFORMAT,
     "model.merges[0]"},
    {"{" BYTES ",\"normalizer\":{\"type\":\"NFKC\"}," MODEL(AB, "") "}", LPO_EUNSUPPORTED, "NFKC"},
    {"{" BYTES ",\"post_processor\":{\"type\":\"TemplateProcessing\"}," MODEL(AB, "") "}", LPO_EFORMAT,
     "post_processor"},
    {"{" BYTES
     ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"A\"}},"
     "{\"SpecialToken\":{\"id\":\"e\"}}],\"special_tokens\":{\"e\":{\"ids\":[1]}}}," MODEL(AB, "") "}",
     LPO_EUNSUPPORTED, "behind the text"},
    {"{" BYTES
     ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"e\"}}],"
     "\"special_tokens\":{\"e\":{\"ids\":[-1]}}}," MODEL(AB, "") "}",
     LPO_EFORMAT, "post_processor"},
    {LLAMA("{\"type\":\"NFC\"}", "null", UNLINE), LPO_EUNSUPPORTED, "normalizer"},
    {LLAMA("{\"type\":\"Prepend\",\"prepend\":\"0123456789abcdef\"}", "null", UNLINE), LPO_EFORMAT,
     "Prepend"},
    {LLAMA("null", "{\"type\":\"ByteLevel\"}", UNLINE), LPO_EUNSUPPORTED, "pre_tokenizer"},
    {LLAMA("null", "{\"type\":\"Metaspace\",\"replacement\":\"_\"}", UNLINE), LPO_EUNSUPPORTED,
     "replacement"},
    {LLAMA("null", "null", "{\"type\":\"ByteFallback\"}"), LPO_EUNSUPPORTED, "decoder"},
    {"{\"pre_tokenizer\":{\"type\":\"Whitespace\"}," ENDS "," MODEL(AB, "") "}", LPO_EUNSUPPORTED,
     "Whitespace"},
    {"{" ENDS "," MODEL(AB, "") "}", LPO_EUNSUPPORTED, "pre_tokenizer"},
    {"{\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"decoder\":{\"type\":\"Metaspace\"}," MODEL(AB, "") "}",
     LPO_EUNSUPPORTED, "decoder"},
    {SPLIT("(a"), LPO_EFORMAT, "not a regular expression"},
    {SPLIT("a\\\\b"), LPO_EUNSUPPORTED, "byte 1 of the pattern"},
    {SPLIT("a\\\\u12g4"), LPO_EUNSUPPORTED, "byte 1 of the pattern"},
    {SPLIT("[a&&b]"), LPO_EUNSUPPORTED, "byte 2 of the pattern"},
    {SPLIT("(?C1)a"), LPO_EUNSUPPORTED, "byte 0 of the pattern"},
    {SPLIT("a(*ACCEPT)"), LPO_EUNSUPPORTED, "byte 1 of the pattern"},
};

/* A bad file never loads, and its message says where it is bad. */
Test(hostile, bad_files_are_refused) {
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        lpo_tokenizer *t;
        lpo_error err = {0};
        lpo_status s = load_text(&t, files[i].json, &err);
        cr_expect(s == files[i].status && err.code == s, "file %zu: status %d: %s", i, s, err.msg);
        cr_expect(strstr(err.msg, files[i].says) != NULL, "file %zu: \"%s\" lacks \"%s\"", i, err.msg,
                  files[i].says);
        cr_expect(strstr(err.msg, "/tmp/leanpo-text-") != NULL, "file %zu: \"%s\" names no file", i, err.msg);
        cr_expect(t == NULL);
        lpo_tokenizer_destroy(t);
    }
}

/* No prefix of a good file loads, and none crashes. */
Test(hostile, truncated_files_are_refused) {
    char json[] = "{\"normalizer\":{\"type\":\"NFC\"}," BYTES "," MODEL(AB, "\"a b\"") "}";
    lpo_tokenizer_destroy(load_good(json));
    for (size_t n = strlen(json); n-- > 0;) {
        lpo_tokenizer *t;
        json[n] = '\0';
        cr_expect(load_text(&t, json, NULL) != LPO_OK, "%zu bytes of it load", n);
    }
}

/* A pattern that backtracks without end stops at the match limit: an error, not a hang. */
Test(hostile, catastrophic_pattern_gives_up) {
    lpo_tokenizer *t = load_good(SPLIT("(?:a|aa)+[bc]"));
    char text[2000];
    memset(text, 'a', sizeof text);
    lpo_ids ids = {0};
    lpo_error err = {0};
    lpo_ids_push(&ids, 42, NULL);
    cr_assert(lpo_tokenizer_encode(&ids, t, text, sizeof text, &err) == LPO_ELIMIT, "%s", err.msg);
    cr_assert(strstr(err.msg, "split pattern") != NULL, "%s", err.msg);
    cr_assert(ids.n == 1 && ids.ids[0] == 42, "a failed call must leave what was there");
    lpo_ids_clear(&ids);
    lpo_tokenizer_destroy(t);
}

/* Invalid UTF-8 is refused with its offset: lone continuation, overlong, surrogate, beyond U+10FFFF, cut
 * short. */
Test(hostile, invalid_utf8_is_refused) {
    static const struct {
        const char *text;
        const char *says;
    } bad_text[] = {{"ab\x80", "byte 2"},
                    {"a\xc0\xaf", "byte 1"},
                    {"\xed\xa0\x80", "byte 0"},
                    {"abab\xf4\x90\x80\x80", "byte 4"},
                    {"b\xe2\x82", "byte 1"}};
    lpo_tokenizer *t = load_good("{" BYTES "," MODEL(AB, "\"a b\"") "}");
    for (size_t i = 0; i < sizeof bad_text / sizeof *bad_text; i++) {
        lpo_ids ids = {0};
        lpo_error err = {0};
        cr_expect(lpo_tokenizer_encode(&ids, t, bad_text[i].text, strlen(bad_text[i].text), &err) ==
                  LPO_EINVAL);
        cr_expect(strstr(err.msg, bad_text[i].says) != NULL, "%s", err.msg);
        lpo_ids_clear(&ids);
    }
    lpo_tokenizer_destroy(t);
}

/* A byte the vocabulary has no token for is an error, not text that silently goes missing. */
Test(hostile, byte_without_token) {
    lpo_tokenizer *t = load_good("{" BYTES "," MODEL(AB, "\"a b\"") "}");
    lpo_ids ids = {0};
    lpo_error err = {0};
    cr_assert(lpo_tokenizer_encode(&ids, t, "abz", 3, &err) == LPO_EFORMAT);
    cr_assert(strstr(err.msg, "0x7a") != NULL, "%s", err.msg);
    cr_assert(lpo_tokenizer_encode(&ids, t, "abb", 3, &err) == LPO_OK);
    cr_assert(ids.n == 2 && ids.ids[0] == 2 && ids.ids[1] == 1);
    lpo_ids_clear(&ids);
    lpo_tokenizer_destroy(t);
}

/* Ids outside the vocabulary cannot be decoded; a character cut in half becomes U+FFFD. */
Test(hostile, decode_of_odd_ids) {
    lpo_tokenizer *t =
        load_good("{" BYTES "," MODEL("\"\u00e4\":0,\"\u00bd\":1,\"\u0142\":2,\"x\":9", "") "}");
    const int32_t high[] = {0, 10}, low[] = {-1}, cut[] = {0, 1, 9, 5};
    char *text;
    size_t n;
    lpo_error err = {0};
    cr_assert(lpo_tokenizer_decode(&text, &n, t, high, 2, 0, &err) == LPO_EINVAL);
    cr_assert(strstr(err.msg, "index 1") != NULL, "%s", err.msg);
    cr_assert(lpo_tokenizer_decode(&text, &n, t, low, 1, 0, &err) == LPO_EINVAL);
    cr_assert(lpo_tokenizer_decode(&text, &n, t, cut, 4, 0, &err) == LPO_OK); /* id 5 is a hole: nothing */
    cr_assert_str_eq(text, "\xef\xbf\xbdx");
    free(text);
    cr_assert(lpo_tokenizer_size(t) == 10 && lpo_tokenizer_id(t, "x") == 9 && lpo_tokenizer_id(t, "y") == -1);
    lpo_tokenizer_destroy(t);
}

/* A normalized added token is searched for in its normalized spelling. (Not a golden line: releases of the
 * reference disagree on how such a token is spelt when decoded.) */
Test(hostile, decomposed_added_token) {
    lpo_tokenizer *t =
        load_good("{\"normalizer\":{\"type\":\"NFC\"},\"added_tokens\":[{\"id\":3,\"content\":\"u\u0308b\","
                  "\"normalized\":true}]," BYTES "," MODEL(AB, "") "}");
    lpo_ids ids = {0};
    lpo_error err = {0};
    cr_assert(lpo_tokenizer_encode(&ids, t, "a\u00fcbu\u0308b", 8, &err) == LPO_OK, "%s", err.msg);
    cr_assert(ids.n == 3 && ids.ids[0] == 0 && ids.ids[1] == 3 && ids.ids[2] == 3);
    lpo_ids_clear(&ids);
    lpo_tokenizer_destroy(t);
}

/* Marks beyond any writing system's need would be ordered in quadratic time: refused. */
Test(hostile, endless_marks_are_refused) {
    lpo_tokenizer *t = load_good("{\"normalizer\":{\"type\":\"NFC\"}," BYTES "," MODEL(AB, "") "}");
    char text[20001] = "a";
    for (size_t i = 1; i < sizeof text; i += 2) memcpy(text + i, i % 4 == 1 ? "\u0301" : "\u0323", 2);
    lpo_error err = {0};
    lpo_ids ids = {0};
    cr_assert(lpo_tokenizer_encode(&ids, t, text, sizeof text, &err) == LPO_ELIMIT, "%s", err.msg);
    lpo_ids_clear(&ids);
    lpo_tokenizer_destroy(t);
}

/* A megabyte without a space is one word: merging must not be quadratic (a quadratic loop needs minutes;
 * ctest stops it). */
Test(hostile, megabyte_word) {
    lpo_tokenizer *t;
    lpo_error err = {0};
    cr_assert(lpo_tokenizer_load(&t, TESTS_DIR "/golden/tokenizer/qwen", &err) == LPO_OK, "%s", err.msg);
    size_t n = 1 << 20;
    char *text = malloc(n);
    for (size_t i = 0; i < n; i++) text[i] = "thehappening"[(i * i / 7) % 12];
    for (int spaces = 0; spaces < 2; spaces++) {
        lpo_ids ids = {0};
        cr_expect(lpo_tokenizer_encode(&ids, t, text, n, &err) == LPO_OK, "%s", err.msg);
        cr_expect(ids.n > 0 && ids.n < n);
        lpo_ids_clear(&ids);
        memset(text, ' ', n);
    }
    free(text);
    lpo_tokenizer_destroy(t);
}

static void *encode_often(void *arg) {
    lpo_tokenizer *t = arg;
    const char text[] = "the cat sat on <|im_start|> cafe\u0301 12";
    size_t wrong = 0;
    lpo_ids first = {0};
    for (int i = 0; i < 200; i++) {
        lpo_ids ids = {0};
        wrong += lpo_tokenizer_encode(i ? &ids : &first, t, text, sizeof text - 1, NULL) != LPO_OK;
        wrong += i && (ids.n != first.n || memcmp(ids.ids, first.ids, ids.n * sizeof *ids.ids) != 0);
        lpo_ids_clear(&ids);
    }
    lpo_ids_clear(&first);
    return wrong ? arg : NULL;
}

/* Threads share one tokenizer (run under -DLEANPO_SANITIZE=thread to see a race). */
Test(hostile, threads_share_a_tokenizer) {
    lpo_tokenizer *t;
    lpo_error err = {0};
    pthread_t thread[4];
    cr_assert(lpo_tokenizer_load(&t, TESTS_DIR "/golden/tokenizer/qwen", &err) == LPO_OK, "%s", err.msg);
    for (int i = 0; i < 4; i++) cr_assert(pthread_create(&thread[i], NULL, encode_often, t) == 0);
    for (int i = 0; i < 4; i++) {
        void *failed;
        pthread_join(thread[i], &failed);
        cr_expect(failed == NULL);
    }
    lpo_tokenizer_destroy(t);
}

/* A gap and the match after it are pieces of their own; a call that fails midway takes back what it had
 * appended. */
Test(hostile, gaps_and_failures) {
    lpo_tokenizer *t = load_good(
        "{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":"
        "{\"String\":\"b\"},\"behavior\":\"Isolated\"},{\"type\":\"ByteLevel\",\"add_prefix_space\":"
        "false,\"use_regex\":false}]}," ENDS "," MODEL(AB ",\"ba\":3", "\"a b\",\"b a\"") "}");
    lpo_ids ids = {0};
    cr_assert(lpo_tokenizer_encode(&ids, t, "aba", 3, NULL) == LPO_OK);
    cr_assert(ids.n == 3 && ids.ids[0] == 0 && ids.ids[1] == 1 && ids.ids[2] == 0);
    cr_assert(lpo_tokenizer_encode(&ids, t, "abz", 3, NULL) == LPO_EFORMAT);
    cr_assert(ids.n == 3);
    lpo_ids_clear(&ids);
    lpo_tokenizer_destroy(t);
}
