/* SPDX-License-Identifier: Apache-2.0 */
/* data_record.c -- a set read line by line, from the start and from the middle. */
#include "base/file.h"
#include "data/record.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char TEXT[] =
    "{\"video\":\"../dev/null\",\"question\":\"q1\",\"answer\":\"x\"}\n"
    "\n"
    "{\"video\":\"../dev/null\",\"question\":\"q2\"}\r\n"
    "not json\n"
    "{\"id\":7,\"video\":\"/dev/null\",\"question\":\"q3\",\"answer\":\"y\"}"; /* no final newline */

static char *file(void) {
    static char path[] = "/tmp/lpo_recordXXXXXX";
    lpo_error err;
    strcpy(path + strlen(path) - 6, "XXXXXX");
    close(mkstemp(path));
    cr_assert_eq(lpo_file_write(path, TEXT, strlen(TEXT), &err), LPO_OK);
    return path;
}

/* Reads one line; returns its number, negative when it is bad, 0 at the end. */
static int next(lpo_record *r, lpo_record_reader *from, lpo_arena *a) {
    const char *reason;
    lpo_error err;
    lpo_status s = lpo_record_reader_next(r, &reason, from, a, &err);
    if (s == LPO_EEND) return 0;
    cr_assert_eq(s, LPO_OK, "%s", err.msg);
    cr_assert((reason == NULL) == (r->json != NULL));
    return reason ? -(int)r->line : (int)r->line;
}

/* Truth: blank lines count as lines and are nothing else; bad ones say why; a path is the file's folder's. */
Test(record, lines_in_order) {
    lpo_error err;
    lpo_record_reader *f;
    lpo_record r;
    lpo_arena *a = lpo_arena_create(1024);
    char *path = file();
    cr_assert_eq(lpo_record_reader_open(&f, path, LPO_NEED_ANSWER, &err), LPO_OK);
    cr_expect_eq(next(&r, f, a), 1);
    cr_expect_str_eq(r.video, "/tmp/../dev/null");
    json_decref((json_t *)(uintptr_t)r.json);
    cr_expect_eq(next(&r, f, a), -3);
    cr_expect_eq(next(&r, f, a), -4);
    cr_expect_eq(next(&r, f, a), 5);
    cr_expect_str_eq(r.video, "/dev/null");
    cr_expect_str_eq(r.id, "7");
    json_decref((json_t *)(uintptr_t)r.json);
    cr_expect_eq(next(&r, f, a), 0);
    lpo_record_reader_close(f);
    lpo_arena_destroy(a);
    unlink(path);
}

/* Truth: from where one reader stood, another reads on as if it had read what came before. */
Test(record, tell_and_seek) {
    lpo_error err;
    lpo_record_reader *f;
    lpo_record r;
    lpo_arena *a = lpo_arena_create(1024);
    char *path = file();
    int64_t offset[5], lines[5];
    int n = 0;
    cr_assert_eq(lpo_record_reader_open(&f, path, LPO_NEED_ANSWER, &err), LPO_OK);
    do {
        cr_assert_lt(n, 5);
        lpo_record_reader_tell(f, &offset[n], &lines[n]);
        n++;
    } while (next(&r, f, a) ? json_decref((json_t *)(uintptr_t)r.json), 1 : 0);
    lpo_record_reader_close(f);
    static const int expect[] = {1, -3, -4, 5, 0};
    for (int i = 0; i < n; i++) {
        cr_assert_eq(lpo_record_reader_open(&f, path, LPO_NEED_ANSWER, &err), LPO_OK);
        cr_assert_eq(lpo_record_reader_seek(f, offset[i], lines[i], &err), LPO_OK);
        cr_expect_eq(next(&r, f, a), expect[i]);
        json_decref((json_t *)(uintptr_t)r.json);
        lpo_record_reader_close(f);
    }
    lpo_arena_destroy(a);
    unlink(path);
}

/* Truth: the census is what a whole reading finds, and the hash knows every byte. */
Test(record, census) {
    lpo_error err;
    lpo_record_census c, d;
    char *path = file();
    cr_assert_eq(lpo_record_count(&c, path, LPO_NEED_ANSWER, 1, &err), LPO_OK, "%s", err.msg);
    cr_expect(c.n_good == 2 && c.n_bad == 2 && c.first_bad_line == 3 &&
              c.size_bytes == (int64_t)strlen(TEXT));
    cr_expect(strstr(c.first_bad, "answer"), "%s", c.first_bad);
    cr_assert_eq(lpo_file_write(path, TEXT, strlen(TEXT) - 1, &err), LPO_OK);
    cr_assert_eq(lpo_record_count(&d, path, LPO_NEED_ANSWER, 1, &err), LPO_OK);
    cr_expect(d.hash != c.hash && d.n_good == 1 && d.n_bad == 3);
    unlink(path);
    cr_expect_eq(lpo_record_count(&d, path, LPO_NEED_ANSWER, 1, &err), LPO_ENOTFOUND);
    cr_expect(strstr(err.msg, path), "%s", err.msg);
}

/* Truths: where questions alone are wanted a line needs no answer, and an empty question is none; a share of
 * bad lines over the bound, and a file without a usable line, are refused with the first reason. */
Test(record, questions_and_bounds) {
    lpo_error err;
    lpo_record_census c;
    char *path = file();
    cr_assert_eq(lpo_record_count(&c, path, LPO_NEED_QUESTION, .25, &err), LPO_OK, "%s", err.msg);
    cr_expect(c.n_good == 3 && c.n_bad == 1);
    cr_expect_eq(lpo_record_count(&c, path, LPO_NEED_QUESTION, .24, &err), LPO_EFORMAT);
    cr_expect(strstr(err.msg, "1 of 4 lines") && strstr(err.msg, "line 4"), "%s", err.msg);
    static const char empty[] = "{\"video\":\"../dev/null\",\"question\":\" \",\"answer\":\"x\"}\n";
    cr_assert_eq(lpo_file_write(path, empty, sizeof empty - 1, &err), LPO_OK);
    cr_expect_eq(lpo_record_count(&c, path, LPO_NEED_ANSWER, 1, &err), LPO_OK);
    cr_expect_eq(lpo_record_count(&c, path, LPO_NEED_QUESTION, 1, &err), LPO_EFORMAT);
    cr_expect(strstr(err.msg, "no usable line; line 1: the question is empty"), "%s", err.msg);
    unlink(path);
}

/* Truth: a video that is not there is found before anything is begun, and counts against the bound. */
Test(record, missing_videos) {
    lpo_error err;
    lpo_record_census c;
    char *path = file();
    static const char text[] = "{\"video\":\"/dev/null\",\"question\":\"q1\",\"answer\":\"x\"}\n"
                               "{\"video\":\"/nonexistent.mp4\",\"question\":\"q2\",\"answer\":\"x\"}\n"
                               "{\"video\":\"/nonexistent.mp4\",\"question\":\"q3\",\"answer\":\"x\"}\n"
                               "{\"video\":\"/dev/null\",\"question\":\"q4\",\"answer\":\"x\"}\n";
    cr_assert_eq(lpo_file_write(path, text, sizeof text - 1, &err), LPO_OK);
    cr_assert_eq(lpo_record_count(&c, path, LPO_NEED_ANSWER, .5, &err), LPO_OK, "%s", err.msg);
    cr_expect(c.n_good == 4 && c.n_bad == 0 && c.n_missing == 2 && c.first_bad_line == 2);
    cr_expect_eq(lpo_record_count(&c, path, LPO_NEED_ANSWER, .49, &err), LPO_EFORMAT);
    cr_expect(strstr(err.msg, "2 of 4 lines") && strstr(err.msg, "line 2: /nonexistent.mp4: No such"), "%s",
              err.msg);
    const char *second = strchr(text, '\n') + 1;
    cr_assert_eq(lpo_file_write(path, second, (size_t)(strchr(second, '\n') - second), &err), LPO_OK);
    cr_expect_eq(lpo_record_count(&c, path, LPO_NEED_ANSWER, 1, &err), LPO_EFORMAT);
    cr_expect(strstr(err.msg, "no usable line; line 1: /nonexistent.mp4"), "%s", err.msg);
    unlink(path);
}
