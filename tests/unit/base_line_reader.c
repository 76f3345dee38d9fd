/* SPDX-License-Identifier: Apache-2.0 */
/* Lines come out as they are in the file, wherever blocks of reading end, and no line costs more memory than
 * the most it may have. */
#include "base/file.h"
#include "base/line_reader.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[] = "/tmp/lpo_linesXXXXXX";

static lpo_line_reader *reader_of(const char *text, size_t n, size_t max_bytes) {
    lpo_error err;
    lpo_line_reader *r;
    strcpy(path + strlen(path) - 6, "XXXXXX");
    close(mkstemp(path));
    cr_assert_eq(lpo_file_write(path, text, n, &err), LPO_OK);
    cr_assert_eq(lpo_line_reader_open(&r, path, max_bytes, &err), LPO_OK);
    unlink(path);
    return r;
}

static void expect(lpo_line_reader *r, const char *text, size_t n, int64_t span, bool too_long) {
    lpo_line l;
    lpo_error err;
    cr_assert_eq(lpo_line_reader_next(&l, r, &err), LPO_OK);
    cr_expect(l.size_bytes == n && !memcmp(l.text, text, n) && l.text[n] == 0, "%.40s", l.text);
    cr_expect_eq(l.span_bytes, span);
    cr_expect_eq(l.too_long, too_long);
}

static void expect_end(lpo_line_reader *r) {
    lpo_line l;
    lpo_error err;
    cr_expect_eq(lpo_line_reader_next(&l, r, &err), LPO_EEND);
    cr_expect_eq(lpo_line_reader_next(&l, r, &err), LPO_EEND);
    lpo_line_reader_close(r);
}

/* Truth: both ends of line are none of the text, a zero byte is, and a last line needs no end. */
Test(line_reader, ends) {
    lpo_line_reader *r = reader_of("ab\n\r\n\nc\0d\r\n\rlast", 16, 100);
    expect(r, "ab", 2, 3, false);
    expect(r, "", 0, 2, false);
    expect(r, "", 0, 1, false);
    expect(r, "c\0d", 3, 5, false);
    cr_expect_eq(lpo_line_reader_tell(r), 11);
    expect(r, "\rlast", 5, 5, false);
    expect_end(r);
    expect_end(reader_of("", 0, 100));
}

/* Truth: a line over the most is told as such, with its first bytes, and the next one is whole. */
Test(line_reader, too_long) {
    lpo_line_reader *r = reader_of("12345\n123456\n1234567890\nok\n", 27, 5);
    lpo_error err;
    expect(r, "12345", 5, 6, false);
    expect(r, "12345", 5, 7, true);
    const int64_t at = lpo_line_reader_tell(r);
    expect(r, "12345", 5, 11, true);
    expect(r, "ok", 2, 3, false);
    cr_assert_eq(lpo_line_reader_seek(r, at, &err), LPO_OK);
    expect(r, "12345", 5, 11, true);
    expect(r, "ok", 2, 3, false);
    expect_end(r);
}

/* Truth: lines of every length around a block of reading (64 KiB) arrive whole and in order. */
Test(line_reader, across_blocks) {
    enum { N = 41, BASE = 65536 - 20 };
    char *text = malloc((size_t)N * (BASE + N)), *p = text;
    for (int i = 0; i < N; i++) {
        memset(p, 'a' + i % 26, (size_t)(BASE + i));
        p[BASE + i] = '\n';
        p += BASE + i + 1;
    }
    lpo_line_reader *r = reader_of(text, (size_t)(p - text), 1 << 20);
    p = text;
    for (int i = 0; i < N; i++) {
        expect(r, p, (size_t)(BASE + i), BASE + i + 1, false);
        p += BASE + i + 1;
    }
    expect_end(r);
    free(text);
}

/* Truth: a file that cannot be read says so. */
Test(line_reader, failures) {
    lpo_line_reader *r;
    lpo_line l;
    lpo_error err;
    cr_expect_eq(lpo_line_reader_open(&r, "/nonexistent/x", 10, &err), LPO_ENOTFOUND);
    cr_assert_eq(lpo_line_reader_open(&r, "/tmp", 10, &err), LPO_OK);
    cr_expect_eq(lpo_line_reader_next(&l, r, &err), LPO_EIO);
    cr_expect(strstr(err.msg, "/tmp: cannot read it: Is a directory"), "%s", err.msg);
    lpo_line_reader_close(r);
}
