/* SPDX-License-Identifier: Apache-2.0 */
/* media.h -- video files in and out: open, count, pick frames, decode them, write new ones.
 * Only local files are ever opened: a playlist, a concat script or a path naming a network address is an
 * error, because a data set must not be able to make a training node call out. Frames come out 8-bit, in the
 * layout the decoder made when it is one of lpo_pixfmt, otherwise converted (host/media/decode.c documents
 * the rounding). FFmpeg's own log is silenced for the whole process; its reason is part of the error.
 * Rotation metadata is not applied, as in PyAV and decord.
 *
 * Threads: one lpo_video or lpo_encoder belongs to one thread at a time; different ones may be used
 * concurrently. */
#ifndef LEANPO_MEDIA_H
#define LEANPO_MEDIA_H
#include "leanpo/status.h"

#include <stddef.h>
#include <stdint.h>

/* 8 bits a sample. Chroma planes of WxH 4:2:0 are ((W+1)/2)x((H+1)/2). NV12: plane 1 is U,V interleaved.
 * RGB24: one packed plane. GBRP: planes G, B, R. Unused planes are NULL. */
typedef enum lpo_pixfmt {
    LPO_PIX_YUV420P,
    LPO_PIX_YUV422P,
    LPO_PIX_YUV444P,
    LPO_PIX_NV12,
    LPO_PIX_RGB24,
    LPO_PIX_GBRP
} lpo_pixfmt;

/* YUV -> RGB matrix. From the stream's tag; an untagged stream is BT.601 limited, as FFmpeg has it. */
typedef enum lpo_matrix { LPO_MATRIX_BT601, LPO_MATRIX_BT709, LPO_MATRIX_BT2020 } lpo_matrix;

typedef struct lpo_frame {
    lpo_pixfmt pixfmt;
    lpo_matrix matrix; /* of no meaning for RGB24 and GBRP */
    int full_range;    /* 0: luma 16-235; 1: 0-255. Always 1 for RGB */
    int width, height; /* this frame's own: a stream may change size */
    const uint8_t *plane[3];
    int pitch_bytes[3]; /* >= the plane's row; may be negative (rows bottom-up) */
} lpo_frame;

typedef struct lpo_video lpo_video;

typedef struct lpo_video_info {
    int width, height;
    int64_t n_frames;  /* exact: packets that show a frame, counted by reading the file through once */
    double fps;        /* average rate */
    double duration_s; /* n_frames / fps */
    const char *codec; /* FFmpeg's name, e.g. "h264"; static */
} lpo_video_info;

typedef struct lpo_video_limits {
    int64_t max_width, max_height, max_pixels, max_frames;
    double max_duration_s;
} lpo_video_limits;

/* 16384 x 16384, 67,108,864 pixels a frame, 2,000,000 frames, 12 hours. */
LPO_API lpo_video_limits lpo_video_limits_default(void);

/* Open path and count its frames. limits NULL: the default; they are checked before frame memory is allocated
 * (LPO_ELIMIT). n_threads decode (0: one per core). LPO_ENOTFOUND no such file; LPO_EFORMAT not a video,
 * damaged or cut short; LPO_EUNSUPPORTED a playlist or a codec this FFmpeg lacks. */
LPO_API lpo_status lpo_video_open(lpo_video **out, const char *path, const lpo_video_limits *limits,
                                  int n_threads, lpo_error *err);
LPO_API void lpo_video_close(lpo_video *v);                           /* NULL accepted */
LPO_API const lpo_video_info *lpo_video_get_info(const lpo_video *v); /* lives as long as v */

/* i: position in the list of wanted indices. frame is borrowed for the call. A failure ends the read and is
 * returned. */
typedef lpo_status lpo_frame_fn(void *user, int i, const lpo_frame *frame, lpo_error *err);

/* Decode the frames whose 0-based display-order indices are given, ascending and possibly repeated; fn is
 * called once per wanted index, in order, from this thread. Nothing after the last wanted frame is decoded.
 * May be called again. */
LPO_API lpo_status lpo_video_read(lpo_video *v, const int64_t *indices, int n, lpo_frame_fn *fn, void *user,
                                  lpo_error *err);

typedef struct lpo_sample_options {
    double fps;                 /* frames taken per second of video */
    int n_frames;               /* > 0: this many (rounded to even) instead of by fps */
    int min_frames, max_frames; /* bounds when sampling by fps */
    int hf_sampler; /* 1: transformers' truncated arange instead of qwen-vl-utils' rounded linspace */
} lpo_sample_options;

LPO_API lpo_sample_options lpo_sample_options_default(void); /* fps 2, min 4, max 768, linspace */

/* Qwen2-VL frame choice. indices: room for max(max_frames, n_frames + 1); *n even, ascending, each in [0,
 * total). LPO_EINVAL when fewer than two frames can be taken. */
LPO_API lpo_status lpo_sample_qwen(int64_t *indices, int *n, int64_t total, double fps_src,
                                   const lpo_sample_options *o, lpo_error *err);

/* LLaVA's frame choice: n_frames > 0 spread evenly, both ends included (hf_sampler: as arange(0, total,
 * total/n) does, without the end); else every round(fps_src/fps)-th frame, and max_frames spread evenly when
 * those are more. indices: room for max(max_frames, n_frames). */
LPO_API lpo_status lpo_sample_uniform(int64_t *indices, int *n, int64_t total, double fps_src,
                                      const lpo_sample_options *o, lpo_error *err);

typedef struct lpo_encoder lpo_encoder;

typedef struct lpo_encode_options {
    const char *codec; /* encoder name; NULL: libx264, else libopenh264, mpeg4, mpeg2video, mjpeg: the first
                          that opens */
    int width, height; /* 4:2:0 encoders may insist on even ones */
    double fps;
    int crf;            /* quality of x264 kind, 0-51, lower is better; <= 0: 23 */
    const char *preset; /* x264 preset; NULL: veryfast */
    int lossless_rgb;   /* FFV1 in RGB (use .mkv or .avi); codec, crf and preset are ignored */
} lpo_encode_options;

/* The container follows path's extension. Writes path.tmp, renamed by finish. The same frames give the same
 * bytes: one encoder thread, no dates, no version strings. */
LPO_API lpo_status lpo_encoder_open(lpo_encoder **out, const char *path, const lpo_encode_options *o,
                                    lpo_error *err);
/* rgb24: height rows of width*3 bytes, packed. Becomes 4:2:0 BT.601 limited (tagged so), chroma sited left.
 */
LPO_API lpo_status lpo_encoder_put(lpo_encoder *e, const uint8_t *rgb24, lpo_error *err);
/* Flush, close, rename over path; frees e either way, and removes path.tmp on failure. Not fsynced: a video
 * can be made again. */
LPO_API lpo_status lpo_encoder_finish(lpo_encoder *e, lpo_error *err);
LPO_API void lpo_encoder_abort(lpo_encoder *e); /* removes path.tmp, frees e; NULL accepted */

/* rgb u8 [height][width][3] -> a PNG file's bytes (malloc'd). Sides 1 to 16384. */
LPO_API lpo_status lpo_png_encode(uint8_t **png, size_t *size_bytes, const uint8_t *rgb, int width,
                                  int height, lpo_error *err);
#endif
