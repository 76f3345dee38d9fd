/* SPDX-License-Identifier: Apache-2.0 */
/* encode.c -- RGB frames into a video file whose bytes depend on nothing but the frames and the options.
 * That takes: one encoder thread; FFmpeg's bit-exact flags (no dates, no version strings); and no SEI units
 * in H.264, where x264 writes its own version and options. RGB -> BT.601 limited is ours, in 16-bit fixed
 * point: Y = 16 + (16829 R + 33039 G + 6416 B)/65536 and so on, each row of the matrix summing exactly so
 * that grey stays grey. Chroma is sited left, H.264's default: weights 1 2 1 across, 1 1 down, taken on RGB
 * before the matrix (the two commute). */
#include "media/demux.h"

#include <errno.h>
#include <libavcodec/avcodec.h>
#include <libavcodec/bsf.h>
#include <libavutil/avstring.h>
#include <libavutil/imgutils.h>
#include <libavutil/opt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lpo_encoder {
    char *path, *tmp;
    int width, height, rgb; /* rgb: lossless FFV1, frames are BGR0 */
    AVFormatContext *fmt;
    AVCodecContext *codec;
    AVBSFContext *bsf; /* NULL: packets go straight to the muxer */
    AVStream *stream;
    AVFrame *frame;
    AVPacket *packet;
    int64_t n_frames;
};

static lpo_status fail_av(const lpo_encoder *e, const char *doing, int averror, lpo_error *err) {
    return lpo_fail(err, averror == AVERROR(ENOMEM) ? LPO_ENOMEM : LPO_EIO, "%s: cannot %s: %s", e->path,
                    doing, lpo_demux_reason(averror));
}

static void encoder_free(lpo_encoder *e) {
    if (!e) return;
    av_bsf_free(&e->bsf);
    avcodec_free_context(&e->codec);
    av_frame_free(&e->frame);
    av_packet_free(&e->packet);
    if (e->fmt) {
        avio_closep(&e->fmt->pb);
        avformat_free_context(e->fmt);
    }
    free(e->path), free(e->tmp), free(e);
}

void lpo_encoder_abort(lpo_encoder *e) {
    if (!e) return;
    if (e->fmt && e->fmt->pb) avio_closep(&e->fmt->pb);
    if (e->tmp) remove(e->tmp);
    encoder_free(e);
}

static void set_quality(AVCodecContext *c, const lpo_encode_options *o) {
    int crf = o->crf > 0 ? o->crf : 23;
    char text[16];
    snprintf(text, sizeof text, "%d", crf);
    if (av_opt_find(c->priv_data, "crf", NULL, 0, 0)) {
        av_opt_set(c->priv_data, "crf", text, 0);
        /* x264's macroblock tree reads memory it has not written when there are B frames: the same video then
         * differs from run to run. Without it the bytes hold under every fill pattern of malloc. */
        av_opt_set(c->priv_data, "mbtree", "0", 0);
        av_opt_set(c->priv_data, "preset", o->preset ? o->preset : "veryfast", 0);
        return;
    }
    /* Quantiser scale 1-31 of the older codecs; x264's 23 looks much like their 4. */
    int q = 1 + crf / 7;
    c->flags |= AV_CODEC_FLAG_QSCALE;
    c->global_quality = FF_QP2LAMBDA * q;
}

static int accepts(const AVCodec *codec, enum AVPixelFormat format) {
    for (const enum AVPixelFormat *p = codec->pix_fmts; p && *p != AV_PIX_FMT_NONE; p++)
        if (*p == format) return 1;
    return codec->pix_fmts == NULL;
}

static int open_codec(lpo_encoder *e, const AVCodec *codec, const lpo_encode_options *o) {
    AVCodecContext *c = avcodec_alloc_context3(codec);
    if (!c) return AVERROR(ENOMEM);
    c->width = o->width;
    c->height = o->height;
    c->framerate = av_d2q(o->fps, 60000);
    c->time_base = av_inv_q(c->framerate);
    c->thread_count = 1;
    c->flags |= AV_CODEC_FLAG_BITEXACT;
    if (e->fmt->oformat->flags & AVFMT_GLOBALHEADER) c->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    c->pix_fmt = AV_PIX_FMT_YUV420P;
    if (e->rgb) {
        c->pix_fmt = AV_PIX_FMT_BGR0;
        c->level = 3;
    } else {
        c->colorspace = AVCOL_SPC_SMPTE170M;
        c->color_primaries = AVCOL_PRI_SMPTE170M;
        c->color_trc = AVCOL_TRC_SMPTE170M;
        c->color_range = AVCOL_RANGE_MPEG;
        c->chroma_sample_location = AVCHROMA_LOC_LEFT;
        set_quality(c, o);
    }
    lpo_demux_reason_clear();
    int r = accepts(codec, c->pix_fmt) ? avcodec_open2(c, codec, NULL) : AVERROR(ENOSYS);
    if (r < 0)
        avcodec_free_context(&c);
    else
        e->codec = c;
    return r;
}

static lpo_status choose_codec(lpo_encoder *e, const lpo_encode_options *o, lpo_error *err) {
    static const char *const usual[] = {"libx264", "libopenh264", "mpeg4", "mpeg2video", "ffv1"};
    const char *one[1] = {e->rgb ? "ffv1" : o->codec};
    const char *const *names = one[0] ? one : usual;
    int n = one[0] ? 1 : (int)(sizeof usual / sizeof usual[0]), r = AVERROR_ENCODER_NOT_FOUND;
    for (int i = 0; i < n; i++) {
        const AVCodec *codec = avcodec_find_encoder_by_name(names[i]);
        if (!codec || codec->type != AVMEDIA_TYPE_VIDEO) continue;
        if ((r = open_codec(e, codec, o)) >= 0) return LPO_OK;
    }
    return lpo_fail(err, r == AVERROR_ENCODER_NOT_FOUND ? LPO_EUNSUPPORTED : LPO_EINVAL,
                    "%s: no encoder opens for %dx%d at %g fps (%s): %s; odd sizes need a codec that takes "
                    "them, e.g. ffv1 in .mkv",
                    e->path, o->width, o->height, o->fps, one[0] ? one[0] : "libx264 and others",
                    lpo_demux_reason(r));
}

/* H.264: drop SEI units (type 6). A build without the filter keeps them: still a valid file. */
static int open_filter(lpo_encoder *e) {
    const AVBitStreamFilter *f = av_bsf_get_by_name("filter_units");
    if (e->codec->codec_id != AV_CODEC_ID_H264 || !f)
        return avcodec_parameters_from_context(e->stream->codecpar, e->codec);
    int r = av_bsf_alloc(f, &e->bsf);
    if (r >= 0) r = av_opt_set(e->bsf->priv_data, "remove_types", "6", 0);
    if (r >= 0) r = avcodec_parameters_from_context(e->bsf->par_in, e->codec);
    if (r < 0) return r;
    e->bsf->time_base_in = e->codec->time_base;
    r = av_bsf_init(e->bsf);
    return r < 0 ? r : avcodec_parameters_copy(e->stream->codecpar, e->bsf->par_out);
}

static lpo_status open_container(lpo_encoder *e, lpo_error *err) {
    int r = open_filter(e);
    e->stream->time_base = e->codec->time_base;
    e->stream->avg_frame_rate = e->codec->framerate;
    if (r >= 0) {
        char *url = av_asprintf("file:%s", e->tmp);
        r = url ? avio_open(&e->fmt->pb, url, AVIO_FLAG_WRITE) : AVERROR(ENOMEM);
        av_free(url);
    }
    if (r >= 0) r = avformat_write_header(e->fmt, NULL);
    return r < 0 ? fail_av(e, "start the file", r, err) : LPO_OK;
}

static lpo_status allocate(lpo_encoder *e, const char *path, lpo_error *err) {
    size_t n = strlen(path);
    e->path = strdup(path);
    e->tmp = malloc(n + 5);
    e->frame = av_frame_alloc();
    e->packet = av_packet_alloc();
    if (!e->path || !e->tmp || !e->frame || !e->packet)
        return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", path);
    memcpy(e->tmp, path, n);
    memcpy(e->tmp + n, ".tmp", 5);
    const AVOutputFormat *of = av_guess_format(NULL, path, NULL);
    if (!of || (of->flags & AVFMT_NOFILE))
        return lpo_fail(err, LPO_EINVAL,
                        "%s: the name's extension is of no known video container; use .mp4 or .mkv", path);
    int r = avformat_alloc_output_context2(&e->fmt, of, NULL, NULL);
    if (r < 0 || !(e->stream = avformat_new_stream(e->fmt, NULL)))
        return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", path);
    e->fmt->flags |= AVFMT_FLAG_BITEXACT;
    return LPO_OK;
}

lpo_status lpo_encoder_open(lpo_encoder **out, const char *path, const lpo_encode_options *o,
                            lpo_error *err) {
    *out = NULL;
    if (o->width < 1 || o->height < 1 || o->width > 16384 || o->height > 16384)
        return lpo_fail(err, LPO_EINVAL, "%s: frames of %dx%d; give 1 to 16384", path, o->width, o->height);
    if (!(o->fps >= 0.01 && o->fps <= 1000))
        return lpo_fail(err, LPO_EINVAL, "%s: %g fps; give 0.01 to 1000", path, o->fps);
    lpo_demux_quiet();
    lpo_encoder *e = calloc(1, sizeof *e);
    if (!e) return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", path);
    e->width = o->width;
    e->height = o->height;
    e->rgb = o->lossless_rgb;
    lpo_demux_reason_clear();
    lpo_status s = allocate(e, path, err);
    if (!s) s = choose_codec(e, o, err);
    if (!s) s = open_container(e, err);
    if (!s) {
        e->frame->format = e->codec->pix_fmt;
        e->frame->width = e->width;
        e->frame->height = e->height;
        if (av_frame_get_buffer(e->frame, 0) < 0) s = lpo_fail(err, LPO_ENOMEM, "%s: out of memory", path);
    }
    if (s) {
        lpo_encoder_abort(e);
        return s;
    }
    *out = e;
    return LPO_OK;
}

static void fill_bgr0(AVFrame *f, const uint8_t *rgb, int width, int height) {
    for (int y = 0; y < height; y++) {
        uint8_t *dst = f->data[0] + (ptrdiff_t)y * f->linesize[0];
        for (int x = 0; x < width; x++, rgb += 3, dst += 4)
            dst[0] = rgb[2], dst[1] = rgb[1], dst[2] = rgb[0], dst[3] = 0;
    }
}

static void fill_luma(AVFrame *f, const uint8_t *rgb, int width, int height) {
    for (int y = 0; y < height; y++) {
        uint8_t *dst = f->data[0] + (ptrdiff_t)y * f->linesize[0];
        for (int x = 0; x < width; x++, rgb += 3)
            dst[x] = (uint8_t)((16829 * rgb[0] + 33039 * rgb[1] + 6416 * rgb[2] + (16 << 16) + 32768) >> 16);
    }
}

static uint8_t chroma(int r, int g, int b, int kr, int kg, int kb) {
    /* r, g, b are sums of weight 8, hence 19 bits */
    return (uint8_t)((kr * r + kg * g + kb * b + (128 << 19) + (1 << 18)) >> 19);
}

static void fill_chroma(AVFrame *f, const uint8_t *rgb, int width, int height) {
    for (int y = 0; y < (height + 1) / 2; y++) {
        const uint8_t *top = rgb + (size_t)(2 * y) * (size_t)width * 3;
        const uint8_t *low = 2 * y + 1 < height ? top + (size_t)width * 3 : top;
        uint8_t *u = f->data[1] + (ptrdiff_t)y * f->linesize[1],
                *v = f->data[2] + (ptrdiff_t)y * f->linesize[2];
        for (int x = 0; x < (width + 1) / 2; x++) {
            int c = 6 * x, l = x ? c - 3 : c, r = 2 * x + 1 < width ? c + 3 : c, sum[3];
            for (int k = 0; k < 3; k++)
                sum[k] = top[l + k] + 2 * top[c + k] + top[r + k] + low[l + k] + 2 * low[c + k] + low[r + k];
            u[x] = chroma(sum[0], sum[1], sum[2], -9714, -19070, 28784);
            v[x] = chroma(sum[0], sum[1], sum[2], 28784, -24103, -4681);
        }
    }
}

static int write_packets(lpo_encoder *e) {
    int r;
    while ((r = avcodec_receive_packet(e->codec, e->packet)) >= 0) {
        if (e->packet->duration == 0) e->packet->duration = 1;
        if (e->bsf) {
            if ((r = av_bsf_send_packet(e->bsf, e->packet)) < 0 ||
                (r = av_bsf_receive_packet(e->bsf, e->packet)) < 0)
                return r;
        }
        e->packet->stream_index = 0;
        av_packet_rescale_ts(e->packet, e->codec->time_base, e->stream->time_base);
        if ((r = av_interleaved_write_frame(e->fmt, e->packet)) < 0) return r;
    }
    return r == AVERROR(EAGAIN) || r == AVERROR_EOF ? 0 : r;
}

lpo_status lpo_encoder_put(lpo_encoder *e, const uint8_t *rgb24, lpo_error *err) {
    lpo_demux_reason_clear();
    int r = av_frame_make_writable(e->frame);
    if (r < 0) return fail_av(e, "encode a frame", r, err);
    if (e->rgb) {
        fill_bgr0(e->frame, rgb24, e->width, e->height);
    } else {
        fill_luma(e->frame, rgb24, e->width, e->height);
        fill_chroma(e->frame, rgb24, e->width, e->height);
    }
    e->frame->pts = e->n_frames++;
    e->frame->quality = e->codec->global_quality;
    r = avcodec_send_frame(e->codec, e->frame);
    if (r >= 0) r = write_packets(e);
    return r < 0 ? fail_av(e, "encode a frame", r, err) : LPO_OK;
}

lpo_status lpo_encoder_finish(lpo_encoder *e, lpo_error *err) {
    lpo_demux_reason_clear();
    int r = avcodec_send_frame(e->codec, NULL);
    if (r >= 0) r = write_packets(e);
    if (r >= 0) r = av_write_trailer(e->fmt);
    if (r >= 0) {
        int closed = avio_closep(&e->fmt->pb);
        if (closed < 0) r = closed;
    }
    if (r >= 0 && rename(e->tmp, e->path) < 0) r = AVERROR(errno);
    if (r >= 0) {
        encoder_free(e);
        return LPO_OK;
    }
    lpo_status s = fail_av(e, "finish the file", r, err);
    lpo_encoder_abort(e);
    return s;
}
