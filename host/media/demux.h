/* SPDX-License-Identifier: Apache-2.0 */
/* demux.h -- the compressed side of a video: one file, its one video stream, its packets in file order.
 * The table of presentation times, made by reading the file through once, is what makes "frame 17" mean the
 * same thing in every container: packet counts in headers are often absent and sometimes wrong, and after a
 * seek the time stamp is the only thing that says which frame came out. */
#ifndef LPO_MEDIA_DEMUX_H
#define LPO_MEDIA_DEMUX_H
#include "leanpo/media.h"

#include <libavformat/avformat.h>

typedef struct lpo_demux_key {
    int64_t frame; /* display index */
    int64_t pts, seek_ts;
} lpo_demux_key;

typedef struct lpo_demux {
    char *path;
    lpo_video_limits limits;
    AVFormatContext *fmt;
    AVStream *stream; /* the chosen one; all others are discarded by the demuxer */
    int64_t n_frames;
    int64_t
        *pts; /* n_frames presentation times, ascending; NULL when they are not all present and distinct */
    lpo_demux_key *keys; /* n_keys key frames, ascending by display index; empty when pts is NULL */
    int64_t n_keys;
} lpo_demux;

/* d: caller storage, zeroed. Opens, checks the limits, reads the file through once, rewinds. On failure d is
 * closed. */
lpo_status lpo_demux_open(lpo_demux *d, const char *path, const lpo_video_limits *limits, lpo_error *err);
void lpo_demux_close(lpo_demux *d);

/* Back to the first packet, by opening again: a seek to "the start" is inexact in several containers. */
lpo_status lpo_demux_rewind(lpo_demux *d, lpo_error *err);

/* Next packet of the stream; LPO_EEND after the last (err untouched). */
lpo_status lpo_demux_packet(lpo_demux *d, AVPacket *pkt, lpo_error *err);

/* Position on the packet of keys[k], which is returned in pkt. LPO_EEND: the container cannot find it again
 * (rewind before reading on). */
lpo_status lpo_demux_seek(lpo_demux *d, int64_t k, AVPacket *pkt, lpo_error *err);

/* Display index of a time stamp, or -1. */
int64_t lpo_demux_frame_at(const lpo_demux *d, int64_t pts);

/* LPO_ELIMIT when a WxH frame is over d's limits. */
lpo_status lpo_demux_check_size(const lpo_demux *d, int64_t width, int64_t height, lpo_error *err);

/* FFmpeg's log goes nowhere; its last error line of this thread is kept for messages. Idempotent. */
void lpo_demux_quiet(void);
void lpo_demux_reason_clear(void);
/* "av_strerror text (last error line)"; static per thread. */
const char *lpo_demux_reason(int averror);
#endif
