/* SPDX-License-Identifier: Apache-2.0 */
/* line_reader.h -- a text file line by line, in memory that no line can make large: what a line has beyond
 * max_bytes is passed over. */
#ifndef LPO_BASE_LINE_READER_H
#define LPO_BASE_LINE_READER_H
#include "leanpo/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct lpo_line {
    const char *text;   /* without its end (\n or \r\n), then a zero; valid until the next call */
    size_t size_bytes;  /* of text */
    int64_t span_bytes; /* in the file, its end included */
    bool too_long;      /* text is its first max_bytes */
} lpo_line;

typedef struct lpo_line_reader lpo_line_reader;
lpo_status lpo_line_reader_open(lpo_line_reader **out, const char *path, size_t max_bytes, lpo_error *err);
void lpo_line_reader_close(lpo_line_reader *r); /* NULL accepted */
/* LPO_EEND after the last; one that the file's end cuts off counts. */
lpo_status lpo_line_reader_next(lpo_line *out, lpo_line_reader *r, lpo_error *err);
int64_t lpo_line_reader_tell(const lpo_line_reader *r); /* where the next line begins, in bytes */
lpo_status lpo_line_reader_seek(lpo_line_reader *r, int64_t offset_bytes, lpo_error *err);
#endif
