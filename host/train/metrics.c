/* SPDX-License-Identifier: Apache-2.0 */
/* metrics.c -- see metrics.h. One write(2) a line: a reader that follows the file sees whole lines. */
#include "train/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct lpo_lines {
    int fd;
    int64_t bytes;
    char *path;
};
enum { MAX_LINE = 64 + LPO_MAX_SCALARS * 80 };

void lpo_scalars_add(lpo_scalars *s, const char *name, double value) {
    if (s->n == LPO_MAX_SCALARS) return;
    s->item[s->n].name = name;
    s->item[s->n++].value = value;
}

double lpo_scalars_get(const lpo_scalars *s, const char *name, double fallback) {
    for (int i = s->n; i-- > 0;)
        if (!strcmp(s->item[i].name, name)) return s->item[i].value;
    return fallback;
}

static lpo_status io_error(lpo_error *err, const char *path, const char *doing) {
    int e = errno;
    return lpo_fail(err, LPO_EIO, "%s: cannot %s: %s%s", path, doing, strerror(e),
                    e == ENOSPC ? " (free some space, then --resume)" : "");
}

lpo_status lpo_lines_open(lpo_lines **out, const char *path, int64_t keep_bytes, lpo_error *err) {
    struct stat st;
    lpo_status s = LPO_OK;
    *out = NULL;
    lpo_lines *l = calloc(1, sizeof *l);
    if (!l) return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", path);
    l->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    l->path = strdup(path);
    if (!l->path)
        s = lpo_fail(err, LPO_ENOMEM, "%s: out of memory", path);
    else if (l->fd < 0 || fstat(l->fd, &st))
        s = io_error(err, path, "open it");
    else if (keep_bytes >= 0 && st.st_size > keep_bytes && ftruncate(l->fd, keep_bytes))
        s = io_error(err, path, "cut it back to the checkpoint");
    if (s) {
        lpo_lines_close(l);
        return s;
    }
    if (keep_bytes > st.st_size)
        lpo_log(LPO_LOG_WARN, "%s: %lld bytes, but %lld at the checkpoint: lines are missing", path,
                (long long)st.st_size, (long long)keep_bytes);
    l->bytes = keep_bytes >= 0 && st.st_size > keep_bytes ? keep_bytes : st.st_size;
    *out = l;
    return LPO_OK;
}

void lpo_lines_close(lpo_lines *l) {
    if (!l) return;
    if (l->fd >= 0) close(l->fd);
    free(l->path);
    free(l);
}

lpo_status lpo_lines_put(lpo_lines *l, const lpo_scalars *s, lpo_error *err) {
    char line[MAX_LINE];
    size_t n = (size_t)snprintf(line, sizeof line, "{\"step\": %lld", (long long)s->step);
    for (int i = 0; i < s->n && n < sizeof line - 2; i++) {
        const double x = s->item[i].value;
        int k = isfinite(x) ? snprintf(line + n, sizeof line - n, ", \"%s\": %.9g", s->item[i].name, x)
                            : snprintf(line + n, sizeof line - n, ", \"%s\": null", s->item[i].name);
        n += k > 0 ? (size_t)k : 0;
    }
    if (n >= sizeof line - 2) return lpo_fail(err, LPO_ELIMIT, "%s: a line of metrics is too long", l->path);
    line[n++] = '}';
    line[n++] = '\n';
    for (size_t done = 0; done < n;) {
        ssize_t k = write(l->fd, line + done, n - done);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return io_error(err, l->path, "write it");
        done += (size_t)k;
        l->bytes += k;
    }
    return LPO_OK;
}

lpo_status lpo_lines_sync(lpo_lines *l, lpo_error *err) {
    return fsync(l->fd) ? io_error(err, l->path, "flush it to disk") : LPO_OK;
}

int64_t lpo_lines_bytes(const lpo_lines *l) {
    return l->bytes;
}
