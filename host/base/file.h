/* SPDX-License-Identifier: Apache-2.0 */
/* file.h -- files that are never half written, and files that are read with a cap.
 * A write goes to NAME.tmp, is fsynced, renamed over NAME, and the folder is fsynced: after a power cut NAME
 * is the old file or the new one. */
#ifndef LPO_BASE_FILE_H
#define LPO_BASE_FILE_H
#include "leanpo/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct lpo_writer lpo_writer;

/* Opens path.tmp for writing (created, truncated). */
lpo_status lpo_writer_open(lpo_writer **out, const char *path, lpo_error *err);
lpo_status lpo_writer_put(lpo_writer *w, const void *data, size_t size_bytes, lpo_error *err);
lpo_status lpo_writer_printf(lpo_writer *w, lpo_error *err, const char *fmt, ...) LPO_PRINTF(3, 4);
/* XXH64 (seed 0) of the bytes put so far. */
uint64_t lpo_writer_hash(const lpo_writer *w);
/* fsync + rename + fsync of the folder, or on failure removes path.tmp. Frees w either way. */
lpo_status lpo_writer_commit(lpo_writer *w, lpo_error *err);
/* Removes path.tmp and frees w. NULL accepted: the `out:` of a goto ladder. */
void lpo_writer_abort(lpo_writer *w);

/* The three calls above for a buffer in memory. */
lpo_status lpo_file_write(const char *path, const void *data, size_t size_bytes, lpo_error *err);

/* Whole file into a malloc'd, NUL-terminated buffer (size excludes the NUL). Fails over max_bytes. Caller
 * frees. */
lpo_status lpo_file_read(char **data, size_t *size_bytes, const char *path, size_t max_bytes, lpo_error *err);

typedef struct lpo_mapping {
    const void *data; /* NULL when size is 0 */
    size_t size_bytes;
} lpo_mapping;
/* Read-only private mapping of a regular file. */
lpo_status lpo_file_map(lpo_mapping *out, const char *path, lpo_error *err);
void lpo_file_unmap(lpo_mapping *m);

/* mkdir -p. */
lpo_status lpo_dir_create(const char *path, lpo_error *err);
lpo_status lpo_dir_sync(const char *path, lpo_error *err);
/* rm -r; what is not there is no error. */
lpo_status lpo_dir_remove(const char *path, lpo_error *err);
int lpo_path_exists(const char *path);
/* malloc'd "dir/name", or name alone when it is absolute; NULL when out of memory. */
char *lpo_path_join(const char *dir, const char *name);
/* malloc'd folder part of path ("." when there is none). */
char *lpo_path_dir(const char *path);
/* Both files lie, or would lie, in one existing folder. */
int lpo_path_same_dir(const char *a, const char *b);
#endif
