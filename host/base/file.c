/* SPDX-License-Identifier: Apache-2.0 */
/* file.c -- see file.h. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

struct lpo_writer {
    int fd;
    char *path, *tmp;
    XXH64_state_t *hash;
    unsigned char *buf; /* BUF bytes: small puts do not become small writes */
    size_t used_bytes;
};
enum { BUF = 1 << 16 };

static lpo_status io_error(lpo_error *err, const char *path, const char *doing) {
    int e = errno;
    const char *hint = e == ENOSPC ? " (free some space, or choose another --out)" : "";
    return lpo_fail(err, e == ENOENT ? LPO_ENOTFOUND : LPO_EIO, "%s: cannot %s: %s%s", path, doing,
                    strerror(e), hint);
}

static void writer_free(lpo_writer *w) {
    if (w->fd >= 0) close(w->fd);
    XXH64_freeState(w->hash);
    free(w->buf);
    free(w->tmp);
    free(w->path);
    free(w);
}

lpo_status lpo_writer_open(lpo_writer **out, const char *path, lpo_error *err) {
    *out = NULL;
    lpo_writer *w = calloc(1, sizeof *w);
    if (!w) return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", path);
    w->fd = -1;
    w->path = strdup(path);
    w->tmp = malloc(strlen(path) + 5);
    w->buf = malloc(BUF);
    w->hash = XXH64_createState();
    if (!w->path || !w->tmp || !w->buf || !w->hash) {
        writer_free(w);
        return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", path);
    }
    sprintf(w->tmp, "%s.tmp", path);
    XXH64_reset(w->hash, 0);
    w->fd = open(w->tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (w->fd < 0) {
        lpo_status s = io_error(err, path, "create it");
        writer_free(w);
        return s;
    }
    *out = w;
    return LPO_OK;
}

static lpo_status write_all(lpo_writer *w, const unsigned char *p, size_t n, lpo_error *err) {
    while (n) {
        ssize_t k = write(w->fd, p, n);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return io_error(err, w->path, "write it");
        p += k;
        n -= (size_t)k;
    }
    return LPO_OK;
}

lpo_status lpo_writer_put(lpo_writer *w, const void *data, size_t size_bytes, lpo_error *err) {
    XXH64_update(w->hash, data, size_bytes);
    if (w->used_bytes + size_bytes > BUF) {
        lpo_status s = write_all(w, w->buf, w->used_bytes, err);
        w->used_bytes = 0;
        if (s) return s;
    }
    if (size_bytes >= BUF) return write_all(w, data, size_bytes, err);
    if (size_bytes) memcpy(w->buf + w->used_bytes, data, size_bytes);
    w->used_bytes += size_bytes;
    return LPO_OK;
}

lpo_status lpo_writer_printf(lpo_writer *w, lpo_error *err, const char *fmt, ...) {
    va_list ap;
    char *s = NULL;
    va_start(ap, fmt);
    int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    if (n < 0) return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", w->path);
    lpo_status st = lpo_writer_put(w, s, (size_t)n, err);
    free(s);
    return st;
}

uint64_t lpo_writer_hash(const lpo_writer *w) {
    return XXH64_digest(w->hash);
}

lpo_status lpo_writer_commit(lpo_writer *w, lpo_error *err) {
    lpo_status s = write_all(w, w->buf, w->used_bytes, err);
    if (!s && fsync(w->fd)) s = io_error(err, w->path, "flush it to disk");
    int bad_close = close(w->fd);
    w->fd = -1;
    if (!s && bad_close) s = io_error(err, w->path, "close it");
    if (!s && rename(w->tmp, w->path)) s = io_error(err, w->path, "rename its .tmp over it");
    if (s) {
        unlink(w->tmp);
    } else {
        char *dir = lpo_path_dir(w->path);
        s = dir ? lpo_dir_sync(dir, err) : lpo_fail(err, LPO_ENOMEM, "%s: out of memory", w->path);
        free(dir);
    }
    writer_free(w);
    return s;
}

void lpo_writer_abort(lpo_writer *w) {
    if (!w) return;
    unlink(w->tmp);
    writer_free(w);
}

lpo_status lpo_file_write(const char *path, const void *data, size_t size_bytes, lpo_error *err) {
    lpo_writer *w;
    lpo_status s = lpo_writer_open(&w, path, err);
    if (s) return s;
    s = lpo_writer_put(w, data, size_bytes, err);
    if (s) {
        lpo_writer_abort(w);
        return s;
    }
    return lpo_writer_commit(w, err);
}

static lpo_status open_regular(int *fd, size_t *size_bytes, const char *path, lpo_error *err) {
    struct stat st;
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0) return io_error(err, path, "open it");
    if (fstat(*fd, &st) || !S_ISREG(st.st_mode)) {
        close(*fd);
        return lpo_fail(err, LPO_EINVAL, "%s: not a regular file", path);
    }
    *size_bytes = (size_t)st.st_size;
    return LPO_OK;
}

lpo_status lpo_file_read(char **data, size_t *size_bytes, const char *path, size_t max_bytes,
                         lpo_error *err) {
    int fd;
    *data = NULL;
    *size_bytes = 0;
    size_t size;
    lpo_status s = open_regular(&fd, &size, path, err);
    if (s) return s;
    char *p = NULL;
    size_t got = 0;
    if (size > max_bytes) {
        s = lpo_fail(err, LPO_ELIMIT, "%s: %zu bytes, over the limit of %zu for this kind of file", path,
                     size, max_bytes);
        goto out;
    }
    p = malloc(size + 1);
    if (!p) {
        s = lpo_fail(err, LPO_ENOMEM, "%s: out of memory for %zu bytes", path, size);
        goto out;
    }
    while (got < size) {
        ssize_t k = read(fd, p + got, size - got);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) {
            s = io_error(err, path, "read it");
            goto out;
        }
        if (k == 0) break;
        got += (size_t)k;
    }
    p[got] = 0;
    *data = p;
    *size_bytes = got;
    p = NULL;
out:
    free(p);
    close(fd);
    return s;
}

lpo_status lpo_file_map(lpo_mapping *out, const char *path, lpo_error *err) {
    int fd;
    size_t size;
    *out = (lpo_mapping){0};
    lpo_status s = open_regular(&fd, &size, path, err);
    if (s) return s;
    if (size) {
        void *p = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
            s = io_error(err, path, "map it");
        else
            *out = (lpo_mapping){p, size};
    }
    close(fd);
    return s;
}

void lpo_file_unmap(lpo_mapping *m) {
    if (m->data) munmap((void *)(uintptr_t)m->data, m->size_bytes);
    *m = (lpo_mapping){0};
}

lpo_status lpo_dir_create(const char *path, lpo_error *err) {
    char *p = strdup(path);
    if (!p) return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", path);
    lpo_status s = LPO_OK;
    for (char *c = p + 1; !s; c++) {
        if (*c != '/' && *c) continue;
        char keep = *c;
        *c = 0;
        if (mkdir(p, 0777) && errno != EEXIST) s = io_error(err, path, "create the folder");
        *c = keep;
        if (!keep) break;
    }
    struct stat st;
    if (!s && (stat(p, &st) || !S_ISDIR(st.st_mode)))
        s = lpo_fail(err, LPO_EINVAL, "%s: is there and is not a folder", path);
    free(p);
    return s;
}

lpo_status lpo_dir_sync(const char *path, lpo_error *err) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return io_error(err, path, "open the folder");
    lpo_status s = fsync(fd) ? io_error(err, path, "flush the folder to disk") : LPO_OK;
    close(fd);
    return s;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

lpo_status lpo_dir_remove(const char *path, lpo_error *err) {
    if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) && errno != ENOENT)
        return io_error(err, path, "remove it");
    return LPO_OK;
}

int lpo_path_exists(const char *path) {
    return access(path, F_OK) == 0;
}

char *lpo_path_join(const char *dir, const char *name) {
    if (name[0] == '/') return strdup(name);
    char *s = NULL;
    return asprintf(&s, "%s/%s", dir, name) < 0 ? NULL : s;
}

char *lpo_path_dir(const char *path) {
    const char *slash = strrchr(path, '/');
    if (!slash) return strdup(".");
    return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

int lpo_path_same_dir(const char *a, const char *b) {
    char *da = lpo_path_dir(a), *db = lpo_path_dir(b);
    char *ra = da ? realpath(da, NULL) : NULL, *rb = db ? realpath(db, NULL) : NULL;
    const int same = ra && rb && !strcmp(ra, rb);
    free(ra);
    free(rb);
    free(da);
    free(db);
    return same;
}
