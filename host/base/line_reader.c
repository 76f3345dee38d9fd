/* SPDX-License-Identifier: Apache-2.0 */
/* line_reader.c -- see line_reader.h. getline(3) would take the whole of a line into memory: a file of two
 * gigabytes without a newline, which is what a wrong file name often leads to, must not cost two gigabytes.
 */
#include "base/line_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK_BYTES = 1 << 16 };

struct lpo_line_reader {
    int fd;
    char *path;
    char *text; /* the line */
    size_t cap, max_bytes;
    int64_t offset;           /* of the next line */
    size_t block_at, block_n; /* of block: what is read and not yet taken */
    char block[BLOCK_BYTES];
};

lpo_status lpo_line_reader_open(lpo_line_reader **out, const char *path, size_t max_bytes, lpo_error *err) {
    *out = NULL;
    lpo_line_reader *r = malloc(sizeof *r);
    if (!r) return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", path);
    memset(r, 0, offsetof(lpo_line_reader, block));
    r->max_bytes = max_bytes;
    r->path = strdup(path);
    r->fd = open(path, O_RDONLY | O_CLOEXEC);
    lpo_status s = LPO_OK;
    if (!r->path)
        s = lpo_fail(err, LPO_ENOMEM, "%s: out of memory", path);
    else if (r->fd < 0)
        s = lpo_fail(err, errno == ENOENT ? LPO_ENOTFOUND : LPO_EIO, "%s: cannot open it: %s", path,
                     strerror(errno));
    if (s) {
        lpo_line_reader_close(r);
        return s;
    }
    *out = r;
    return LPO_OK;
}

void lpo_line_reader_close(lpo_line_reader *r) {
    if (!r) return;
    if (r->fd >= 0) close(r->fd);
    free(r->text);
    free(r->path);
    free(r);
}

int64_t lpo_line_reader_tell(const lpo_line_reader *r) {
    return r->offset;
}

lpo_status lpo_line_reader_seek(lpo_line_reader *r, int64_t offset_bytes, lpo_error *err) {
    if (lseek(r->fd, (off_t)offset_bytes, SEEK_SET) < 0)
        return lpo_fail(err, LPO_EIO, "%s: cannot go to byte %lld: %s", r->path, (long long)offset_bytes,
                        strerror(errno));
    r->offset = offset_bytes;
    r->block_at = r->block_n = 0;
    return LPO_OK;
}

/* The next block when the last is used up; an empty one at the end of the file. */
static lpo_status fill(lpo_line_reader *r, lpo_error *err) {
    if (r->block_at < r->block_n) return LPO_OK;
    ssize_t n;
    do n = read(r->fd, r->block, sizeof r->block);
    while (n < 0 && errno == EINTR);
    r->block_at = 0;
    r->block_n = n > 0 ? (size_t)n : 0;
    return n < 0 ? lpo_fail(err, LPO_EIO, "%s: cannot read it: %s", r->path, strerror(errno)) : LPO_OK;
}

/* Makes room for size bytes and a zero. */
static bool reserve(lpo_line_reader *r, size_t size) {
    if (size < r->cap) return true;
    size_t cap = r->cap ? r->cap : 1024;
    while (cap <= size) cap *= 2;
    char *p = realloc(r->text, cap);
    if (!p) return false;
    r->text = p;
    r->cap = cap;
    return true;
}

lpo_status lpo_line_reader_next(lpo_line *out, lpo_line_reader *r, lpo_error *err) {
    size_t size = 0;
    *out = (lpo_line){0};
    for (bool ended = false; !ended;) {
        lpo_status s = fill(r, err);
        if (s) return s;
        const size_t left = r->block_n - r->block_at;
        if (!left) break;
        const char *from = r->block + r->block_at, *end = memchr(from, '\n', left);
        const size_t n = end ? (size_t)(end - from) : left;
        const size_t room = r->max_bytes - size, kept = n < room ? n : room;
        if (!reserve(r, size + kept))
            return lpo_fail(err, LPO_ENOMEM, "%s: out of memory for a line of %zu bytes", r->path,
                            size + kept);
        memcpy(r->text + size, from, kept);
        size += kept;
        out->too_long |= kept < n;
        ended = end != NULL;
        r->block_at += n + ended;
        out->span_bytes += (int64_t)n + ended;
    }
    if (!out->span_bytes) return LPO_EEND;
    if (!out->too_long && size && r->text[size - 1] == '\r') size--;
    r->text[size] = 0;
    r->offset += out->span_bytes;
    out->text = r->text;
    out->size_bytes = size;
    return LPO_OK;
}
