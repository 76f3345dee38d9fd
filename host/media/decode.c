/* SPDX-License-Identifier: Apache-2.0 */
/* decode.c -- chosen frames of a video, in display order.
 * Frames are numbered by counting what the decoder gives from the start, so number k is the same frame
 * however it was reached. A jump to a key frame is taken only where it saves more than JUMP frames of
 * decoding, and is believed only when the first frame out carries that key frame's own time stamp; otherwise
 * the file is decoded from its start. */
#include "media/decode.h"

#include "media/demux.h"

#include <libavcodec/avcodec.h>
#include <stdlib.h>
#include <string.h>

enum { JUMP = 16 }; /* besides the frames in flight in the decoder's threads, which a jump throws away */

struct lpo_video {
    lpo_demux demux;
    lpo_video_info info;
    AVCodecContext *codec;
    AVFrame *frame;
    AVPacket *packet;
    int packet_ready; /* packet was read but not yet sent */
    int draining;
    int64_t next;    /* display index of the frame the decoder gives next; -1: unknown, start again */
    int64_t land_on; /* >= 0: a jump was made; the frame of this time stamp is number `next` */
    int never_jump;  /* a jump was once disproved */
    lpo_convert convert;
};

static lpo_status fail_decode(const lpo_video *v, int averror, lpo_error *err) {
    return lpo_fail(err, averror == AVERROR(ENOMEM) ? LPO_ENOMEM : LPO_EFORMAT,
                    "%s: frame %lld of %lld cannot be decoded (%s): %s; re-encode or drop the video",
                    v->demux.path, (long long)v->next, (long long)v->info.n_frames, v->info.codec,
                    lpo_demux_reason(averror));
}

static lpo_status open_codec(lpo_video *v, int n_threads, lpo_error *err) {
    const AVCodecParameters *par = v->demux.stream->codecpar;
    const AVCodec *codec = avcodec_find_decoder(par->codec_id);
    if (!codec)
        return lpo_fail(err, LPO_EUNSUPPORTED, "%s: this FFmpeg has no decoder for %s; re-encode as H.264",
                        v->demux.path, avcodec_get_name(par->codec_id));
    v->codec = avcodec_alloc_context3(codec);
    v->frame = av_frame_alloc();
    v->packet = av_packet_alloc();
    if (!v->codec || !v->frame || !v->packet)
        return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", v->demux.path);
    int r = avcodec_parameters_to_context(v->codec, par);
    v->codec->pkt_timebase = v->demux.stream->time_base;
    v->codec->thread_count = n_threads;
    v->codec->max_pixels = v->demux.limits.max_pixels;
    lpo_demux_reason_clear();
    if (r >= 0) r = avcodec_open2(v->codec, codec, NULL);
    if (r < 0)
        return lpo_fail(err, LPO_EFORMAT, "%s: the %s decoder does not start: %s", v->demux.path, codec->name,
                        lpo_demux_reason(r));
    return LPO_OK;
}

/* The container's average rate, or where it has none, what the time stamps say. */
static double average_fps(const lpo_demux *d) {
    AVRational r = d->stream->avg_frame_rate;
    if (r.num <= 0 || r.den <= 0) {
        int64_t n = d->n_frames, span = d->pts && n > 1 ? d->pts[n - 1] - d->pts[0] : 0;
        if (span > 0) return (double)(n - 1) / ((double)span * av_q2d(d->stream->time_base));
        r = d->stream->r_frame_rate;
    }
    return r.num > 0 && r.den > 0 ? av_q2d(r) : 25.0;
}

lpo_status lpo_video_open(lpo_video **out, const char *path, const lpo_video_limits *limits, int n_threads,
                          lpo_error *err) {
    *out = NULL;
    if (n_threads < 0)
        return lpo_fail(err, LPO_EINVAL, "%d decoding threads; give 0 for one per core, or more", n_threads);
    lpo_video *v = calloc(1, sizeof *v);
    if (!v) return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", path);
    lpo_status s = lpo_demux_open(&v->demux, path, limits, err);
    if (!s) {
        const AVCodecParameters *par = v->demux.stream->codecpar;
        double fps = average_fps(&v->demux), duration = (double)v->demux.n_frames / fps;
        v->info = (lpo_video_info){par->width, par->height, v->demux.n_frames,
                                   fps,        duration,    avcodec_get_name(par->codec_id)};
        v->land_on = -1;
        if (duration > v->demux.limits.max_duration_s)
            s = lpo_fail(err, LPO_ELIMIT,
                         "%s: %.0f s long, over the limit of %.0f s; cut the video or raise the limit", path,
                         duration, v->demux.limits.max_duration_s);
    }
    if (!s) s = open_codec(v, n_threads, err);
    if (s) {
        lpo_video_close(v);
        return s;
    }
    *out = v;
    return LPO_OK;
}

void lpo_video_close(lpo_video *v) {
    if (!v) return;
    avcodec_free_context(&v->codec);
    av_frame_free(&v->frame);
    av_packet_free(&v->packet);
    lpo_demux_close(&v->demux);
    lpo_convert_free(&v->convert);
    free(v);
}

const lpo_video_info *lpo_video_get_info(const lpo_video *v) {
    return &v->info;
}

/* Forget what is in flight; the next packet sent is the first of a new run. */
static void flush(lpo_video *v) {
    av_packet_unref(v->packet);
    avcodec_flush_buffers(v->codec);
    v->packet_ready = v->draining = 0;
    v->land_on = -1;
}

static lpo_status restart(lpo_video *v, lpo_error *err) {
    flush(v);
    v->next = -1;
    lpo_status s = lpo_demux_rewind(&v->demux, err);
    if (!s) v->next = 0;
    return s;
}

/* The last key frame at or before a display index, or -1. */
static int64_t key_before(const lpo_demux *d, int64_t frame) {
    int64_t lo = 0, hi = d->n_keys;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        if (d->keys[mid].frame <= frame)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo - 1;
}

/* Make the decoder's next frame one at or before `want`, by going on, jumping ahead or starting again. */
static lpo_status approach(lpo_video *v, int64_t want, lpo_error *err) {
    int64_t k = v->never_jump ? -1 : key_before(&v->demux, want);
    int64_t from = v->next < 0 || v->next > want ? 0 : v->next;
    if (k >= 0 && v->demux.keys[k].frame > from + JUMP + v->codec->thread_count) {
        flush(v);
        lpo_status s = lpo_demux_seek(&v->demux, k, v->packet, err);
        if (!s) {
            v->packet_ready = 1;
            v->next = v->demux.keys[k].frame;
            v->land_on = v->demux.keys[k].pts;
            return LPO_OK;
        }
        if (s != LPO_EEND) return s;
        v->never_jump = 1;
        return restart(v, err);
    }
    return v->next < 0 || v->next > want ? restart(v, err) : LPO_OK;
}

/* One packet, or the end, into the decoder. */
static lpo_status feed(lpo_video *v, lpo_error *err) {
    int r;
    if (v->draining) return LPO_EEND;
    if (!v->packet_ready) {
        lpo_status s = lpo_demux_packet(&v->demux, v->packet, err);
        if (s && s != LPO_EEND) return s;
        v->draining = s == LPO_EEND;
    }
    lpo_demux_reason_clear();
    r = avcodec_send_packet(v->codec, v->draining ? NULL : v->packet);
    av_packet_unref(v->packet);
    v->packet_ready = 0;
    if (r < 0 && r != AVERROR_EOF) return fail_decode(v, r, err);
    return LPO_OK;
}

/* The decoder's next frame into v->frame; its display index is v->next - 1 afterwards. LPO_EEND after the
 * last. */
static lpo_status next_frame(lpo_video *v, lpo_error *err) {
    for (;;) {
        int r = avcodec_receive_frame(v->codec, v->frame);
        if (r == AVERROR(EAGAIN)) {
            lpo_status s = feed(v, err);
            if (s) return s;
            continue;
        }
        if (r == AVERROR_EOF) return LPO_EEND;
        if (r < 0) return fail_decode(v, r, err);
        if (v->land_on >= 0) {
            if (v->frame->pts < v->land_on)
                continue; /* leading pictures: shown before the key frame, coded after it */
            if (v->frame->pts != v->land_on) {
                v->never_jump = 1;
                lpo_status s = restart(v, err);
                if (s) return s;
                continue;
            }
            v->land_on = -1;
        }
        v->next++;
        return LPO_OK;
    }
}

static lpo_status check_indices(const lpo_video *v, const int64_t *indices, int n, lpo_error *err) {
    for (int i = 0; i < n; i++) {
        if (indices[i] < 0 || indices[i] >= v->info.n_frames)
            return lpo_fail(err, LPO_EINVAL, "%s: frame %lld was asked for, the video has frames 0 to %lld",
                            v->demux.path, (long long)indices[i], (long long)v->info.n_frames - 1);
        if (i && indices[i] < indices[i - 1])
            return lpo_fail(err, LPO_EINVAL,
                            "%s: frame %lld was asked for after %lld; give ascending indices", v->demux.path,
                            (long long)indices[i], (long long)indices[i - 1]);
    }
    return LPO_OK;
}

lpo_status lpo_video_read(lpo_video *v, const int64_t *indices, int n, lpo_frame_fn *fn, void *user,
                          lpo_error *err) {
    lpo_status s = check_indices(v, indices, n, err);
    for (int i = 0; !s && i < n;) {
        int64_t want = indices[i];
        s = approach(v, want, err);
        while (!s && (s = next_frame(v, err)) == LPO_OK && v->next <= want) {
        }
        if (s == LPO_EEND)
            s = lpo_fail(err, LPO_EFORMAT,
                         "%s: frame %lld is missing: the decoder gave %lld of the %lld frames; re-encode or "
                         "drop the video",
                         v->demux.path, (long long)want, (long long)v->next, (long long)v->info.n_frames);
        lpo_frame frame;
        if (!s) s = lpo_demux_check_size(&v->demux, v->frame->width, v->frame->height, err);
        if (!s) s = lpo_convert_frame(&frame, v->frame, &v->convert, v->demux.path, err);
        for (; !s && i < n && indices[i] == want; i++) s = fn(user, i, &frame, err);
    }
    if (s) v->next = -1;
    return s;
}
