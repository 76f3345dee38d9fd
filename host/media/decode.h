/* SPDX-License-Identifier: Apache-2.0 */
/* decode.h -- what FFmpeg's decoders give, as the few 8-bit layouts that preprocessing reads. */
#ifndef LPO_MEDIA_DECODE_H
#define LPO_MEDIA_DECODE_H
#include "leanpo/media.h"

#include <libavutil/frame.h>
#include <stddef.h>

/* Scratch of one reader; zero-initialised, freed by lpo_convert_free. */
typedef struct lpo_convert {
    uint8_t *samples; /* the converted planes */
    size_t samples_cap;
    uint16_t *row; /* one row of source samples */
    size_t row_cap;
    uint8_t lut[1 << 16]; /* source sample -> 8 bits, for (lut_depth, lut_full) */
    int lut_depth, lut_full;
} lpo_convert;

void lpo_convert_free(lpo_convert *c);

/* View in as out: pointers into in when its layout is one of lpo_pixfmt, else into c's planes, valid until
 * the next call. where names the file in errors. LPO_EUNSUPPORTED for layouts and matrices without a
 * conversion. */
lpo_status lpo_convert_frame(lpo_frame *out, const AVFrame *in, lpo_convert *c, const char *where,
                             lpo_error *err);
#endif
