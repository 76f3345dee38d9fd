/* SPDX-License-Identifier: Apache-2.0 */
/* data_dataset.c -- JSONL sets: what is accepted, what is quarantined and with which reason. */
#include "base/file.h"
#include "data/dataset.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[64];
static void make_dir(void) {
    strcpy(dir, "/tmp/leanpo-data-XXXXXX");
    cr_assert(mkdtemp(dir));
}
static void drop_dir(void) {
    lpo_dir_remove(dir, NULL);
}
TestSuite(dataset, .init = make_dir, .fini = drop_dir);

static char *in_dir(const char *name) {
    static char path[2][256];
    static int k;
    k = !k;
    snprintf(path[k], sizeof path[k], "%s/%s", dir, name);
    return path[k];
}

static lpo_status open_text(lpo_dataset **d, const char *text, double max_bad, lpo_error *err) {
    lpo_dataset_options o = lpo_dataset_options_default();
    o.max_bad = max_bad;
    o.quarantine = in_dir("quarantine.jsonl");
    char *path = in_dir("set.jsonl");
    cr_assert_eq(lpo_file_write(path, text, strlen(text), NULL), LPO_OK);
    return lpo_dataset_open(d, path, &o, err);
}

/* Truth: both plain strings and TRL's conversational lists give the last user and assistant text; relative
 * videos are resolved beside the file. */
Test(dataset, reads_questions_and_pairs_in_both_forms) {
    lpo_dataset *d;
    lpo_error err;
    cr_assert_eq(
        open_text(&d,
                  "{\"id\":\"a\",\"video\":\"v/1.mp4\",\"question\":\"q\",\"answer\":\"yes\",\"extra\":1}\n"
                  "\n"
                  "{\"video\":\"/abs.mp4\",\"prompt\":\"p\",\"chosen\":\"c\",\"rejected\":\"r\"}\r\n"
                  "{\"video\":\"v.mp4\",\"prompt\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":"
                  "\"user\",\"content\":"
                  "[{\"type\":\"video\"},{\"type\":\"text\",\"text\":\"hi\"}]}],"
                  "\"chosen\":[{\"role\":\"assistant\",\"content\":\"good\"}],\"rejected\":[{\"role\":"
                  "\"assistant\",\"content\":\"bad\"}]}",
                  0, &err),
        LPO_OK, "%s", err.msg);
    cr_assert_eq(lpo_dataset_count(d), 3);
    const lpo_record *r = lpo_dataset_at(d, 0);
    cr_expect_str_eq(r->id, "a");
    cr_expect_str_eq(r->chosen, "yes");
    cr_expect_null(r->rejected);
    cr_expect(strstr(r->video, dir) == r->video && strstr(r->video, "/v/1.mp4"));
    cr_expect_eq(json_integer_value(json_object_get(r->json, "extra")), 1);
    r = lpo_dataset_at(d, 1);
    cr_expect_str_eq(r->video, "/abs.mp4");
    cr_expect_str_eq(r->rejected, "r");
    cr_expect_str_eq(r->id, "3"); /* the line number: line 2 is blank */
    r = lpo_dataset_at(d, 2);
    cr_expect_str_eq(r->prompt, "hi");
    cr_expect_str_eq(r->chosen, "good");
    cr_expect_str_eq(r->rejected, "bad");
    lpo_dataset_close(d);
}

/* Truth: each kind of bad line is skipped and listed with its line number; the good lines around it stay. */
Test(dataset, bad_lines_are_quarantined) {
    static const char text[] = "{\"video\":\"v\",\"question\":\"q\",\"answer\":\"a\"}\n"
                               "{\"video\":\"v\",\"question\":\"q\",\"answer\":\"a\"\n"
                               "[1,2]\n"
                               "{\"video\":\"v\",\"question\":\"q\",\"answer\":\"  \"}\n"
                               "{\"question\":\"q\",\"answer\":\"a\"}\n"
                               "{\"video\":\"v\",\"prompt\":\"q\",\"chosen\":\"a\"}\n";
    lpo_dataset *d;
    lpo_error err;
    cr_assert_eq(open_text(&d, text, 1, &err), LPO_OK, "%s", err.msg);
    cr_expect_eq(lpo_dataset_count(d), 1);
    cr_expect_eq(lpo_dataset_bad(d), 5);
    lpo_dataset_close(d);
    char *listed;
    size_t n;
    cr_assert_eq(lpo_file_read(&listed, &n, in_dir("quarantine.jsonl"), 1 << 20, &err), LPO_OK);
    cr_expect(strstr(listed, "\"line\":2"));
    cr_expect(strstr(listed, "answer\\\" is empty"));
    cr_expect(strstr(listed, "video\\\" is missing"));
    cr_expect(strstr(listed, "rejected\\\" is missing"));
    free(listed);
}

/* Truth: over --max-bad the set is refused, and the message names file, line and reason. */
Test(dataset, too_many_bad_lines_stop_the_run) {
    lpo_dataset *d;
    lpo_error err;
    cr_assert_eq(
        open_text(&d, "{\"video\":\"v\",\"question\":\"q\",\"answer\":\"a\"}\nnot json\n", .01, &err),
        LPO_EFORMAT);
    cr_expect_null(d);
    cr_expect(strstr(err.msg, "set.jsonl") && strstr(err.msg, "line 2") && strstr(err.msg, "--max-bad"), "%s",
              err.msg);
    cr_assert_eq(open_text(&d, "", .01, &err), LPO_EFORMAT);
    cr_expect(strstr(err.msg, "no usable line"));
}

/* Truth: a record rejected later is counted and listed too, and the others close ranks. */
Test(dataset, reject_and_compact) {
    lpo_dataset *d;
    lpo_error err;
    cr_assert_eq(open_text(&d,
                           "{\"id\":\"a\",\"video\":\"v\",\"question\":\"q\",\"answer\":\"a\"}\n"
                           "{\"id\":\"b\",\"video\":\"w\",\"question\":\"q\",\"answer\":\"a\"}\n"
                           "{\"id\":\"c\",\"video\":\"v\",\"question\":\"q\",\"answer\":\"a\"}\n",
                           .5, &err),
                 LPO_OK);
    cr_assert_eq(lpo_dataset_reject(d, 1, "w cannot be read", &err), LPO_OK);
    cr_assert_eq(lpo_dataset_compact(d, &err), LPO_OK);
    cr_assert_eq(lpo_dataset_count(d), 2);
    cr_expect_str_eq(lpo_dataset_at(d, 1)->id, "c");
    cr_expect_eq(lpo_dataset_at(d, 1)->index, 1);
    cr_expect_eq(lpo_dataset_bad(d), 1);
    lpo_dataset_close(d);
}
