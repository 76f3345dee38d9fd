/* SPDX-License-Identifier: Apache-2.0 */
/* train_partial.c -- truths: what was put after the last commit is gone when a run is resumed, and nothing
 * else is; a run goes on with its own files alone; the files move when all is written, in any number of
 * attempts; a file that may lack does. */
#include "base/file.h"
#include "train/partial.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const lpo_partial_file FILES[] = {{"lines.jsonl", NULL, false}, {"bad.jsonl", ".bad.jsonl", true}};
static char dir[] = "/tmp/leanpo-partial-XXXXXX", out[64];

static lpo_partial_options options(const json_t *identity, bool resume) {
    return (lpo_partial_options){.out = out,
                                 .command = "a test",
                                 .files = FILES,
                                 .n_files = 2,
                                 .identity = identity,
                                 .data_bytes = 1000,
                                 .resume = resume,
                                 .digits = 15};
}

static void begin(void) {
    strcpy(dir + strlen(dir) - 6, "XXXXXX");
    cr_assert(mkdtemp(dir));
    snprintf(out, sizeof out, "%s/o.jsonl", dir);
}

static void end(void) {
    lpo_error err;
    lpo_dir_remove(dir, &err);
}

static const char *text_of(const char *path) {
    static char text[256];
    lpo_error err;
    char *data;
    size_t n;
    cr_assert_eq(lpo_file_read(&data, &n, path, sizeof text - 1, &err), LPO_OK, "%s", err.msg);
    memcpy(text, data, n + 1);
    free(data);
    return text;
}

static void put(lpo_partial *p, int file, double x) {
    lpo_error err;
    cr_assert_eq(lpo_partial_put(p, file, json_pack("{sf}", "x", x), &err), LPO_OK, "%s", err.msg);
}

static void commit(lpo_partial *p, int line, bool complete) {
    lpo_error err;
    cr_assert_eq(
        lpo_partial_commit(p, json_pack("{si}", "n", line), (int64_t)10 * line, line, complete, &err), LPO_OK,
        "%s", err.msg);
}

Test(partial, resumes_from_the_last_commit, .init = begin, .fini = end) {
    lpo_error err;
    lpo_partial *p, *q;
    lpo_partial_state s;
    json_t *mine = json_pack("{si}", "seed", 1), *other = json_pack("{si}", "seed", 2);
    const lpo_partial_options first = options(mine, false), again = options(mine, true),
                              else_ = options(other, true);
    cr_assert_eq(lpo_partial_open(&p, &s, &first, &err), LPO_OK, "%s", err.msg);
    cr_expect(!s.counts && !s.complete && s.line == 0);
    put(p, 0, .1);
    put(p, 1, 2);
    commit(p, 2, false);
    put(p, 0, 3); /* as a kill leaves it */
    /* Not twice at a time, and not without being told to go on. */
    cr_expect_eq(lpo_partial_open(&q, &s, &again, &err), LPO_EINVAL);
    cr_expect(strstr(err.msg, "another a test is at work") && !q, "%s", err.msg);
    lpo_partial_close(p);
    cr_expect_eq(lpo_partial_open(&q, &s, &first, &err), LPO_EINVAL);
    cr_expect(strstr(err.msg, "--resume"), "%s", err.msg);
    cr_expect_eq(lpo_partial_open(&q, &s, &else_, &err), LPO_EINVAL);
    cr_expect(strstr(err.msg, "begun with seed = 1, now 2"), "%s", err.msg);

    cr_assert_eq(lpo_partial_open(&p, &s, &again, &err), LPO_OK, "%s", err.msg);
    cr_expect(s.line == 2 && s.offset == 20 && !s.complete);
    cr_expect_eq(json_integer_value(json_object_get(s.counts, "n")), 2);
    json_decref(s.counts);
    put(p, 0, 4);
    commit(p, 3, true);
    cr_expect_str_eq(text_of(lpo_partial_path(p, 0)), "{\"x\":0.1}\n{\"x\":4.0}\n");
    lpo_partial_close(p);

    /* All is written; a kill while the files moved: the second file is in its place already. */
    char bad[80], part[80];
    snprintf(bad, sizeof bad, "%s/o.bad.jsonl", dir);
    snprintf(part, sizeof part, "%s/o.jsonl.partial/bad.jsonl", dir);
    cr_assert_eq(rename(part, bad), 0);
    cr_assert_eq(lpo_partial_open(&p, &s, &again, &err), LPO_OK, "%s", err.msg);
    cr_expect(s.complete && !lpo_partial_gone(p));
    json_t *summary = json_pack("{sO sO}", "counts", s.counts, "options", mine);
    json_decref(s.counts);
    cr_assert_eq(lpo_partial_finish(p, summary, &err), LPO_OK, "%s", err.msg);
    lpo_partial_close(p);
    cr_expect_str_eq(text_of(out), "{\"x\":0.1}\n{\"x\":4.0}\n");
    cr_expect_str_eq(text_of(bad), "{\"x\":2.0}\n");

    /* Finished: going on finds nothing to do, and another run is not taken for it. */
    cr_assert_eq(lpo_partial_open(&p, &s, &again, &err), LPO_OK, "%s", err.msg);
    cr_expect(s.complete && lpo_partial_gone(p));
    cr_expect_eq(json_integer_value(json_object_get(s.counts, "n")), 3);
    json_decref(s.counts);
    lpo_partial_close(p);
    cr_expect_eq(lpo_partial_open(&p, &s, &else_, &err), LPO_EINVAL);
    json_decref(summary);
    json_decref(other);
    json_decref(mine);
}

Test(partial, an_empty_file_may_lack, .init = begin, .fini = end) {
    lpo_error err;
    lpo_partial *p;
    lpo_partial_state s;
    char bad[80];
    json_t *mine = json_object();
    const lpo_partial_options o = options(mine, false);
    snprintf(bad, sizeof bad, "%s/o.bad.jsonl", dir);
    cr_assert_eq(lpo_file_write(bad, "old", 3, &err), LPO_OK);
    cr_assert_eq(lpo_partial_open(&p, &s, &o, &err), LPO_OK, "%s", err.msg);
    commit(p, 1, true);
    cr_assert_eq(lpo_partial_finish(p, mine, &err), LPO_OK, "%s", err.msg);
    lpo_partial_close(p);
    cr_expect_str_eq(text_of(out), "");
    cr_expect_not(lpo_path_exists(bad), "what an earlier run found bad is still listed");
    json_decref(mine);
}

/* A file shorter than state.json counts cannot be cut to its size: the run is refused, not patched. */
Test(partial, a_short_file_is_refused, .init = begin, .fini = end) {
    lpo_error err;
    lpo_partial *p;
    lpo_partial_state s;
    char part[80];
    json_t *mine = json_object();
    const lpo_partial_options o = options(mine, false), again = options(mine, true);
    snprintf(part, sizeof part, "%s/o.jsonl.partial/lines.jsonl", dir);
    cr_assert_eq(lpo_partial_open(&p, &s, &o, &err), LPO_OK, "%s", err.msg);
    put(p, 0, 1);
    commit(p, 1, false);
    lpo_partial_close(p);
    cr_assert_eq(truncate(part, 3), 0);
    cr_expect_eq(lpo_partial_open(&p, &s, &again, &err), LPO_EFORMAT);
    cr_expect(strstr(err.msg, "lines.jsonl: shorter than the 10 bytes"), "%s", err.msg);
    json_decref(mine);
}
