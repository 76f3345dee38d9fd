/* SPDX-License-Identifier: Apache-2.0 */
/* media_decode.c -- files made here with FFmpeg's own encoders come back as the frames that went in: for
 * every codec and layout, in order, whichever frames are asked for; and files that are not what they should
 * be are refused in words. A missing encoder skips its row aloud. */
#include "base/file.h"
#include "leanpo/media.h"

#include <criterion/criterion.h>
#include <criterion/logging.h>
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The encoder x265, which only this test runs, loses a few kilobytes at each use; x264 166 bytes when it
 * refuses to open. */
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) {
    return "leak:libx265\nleak:libx264\n";
}

static char dir[64];

static void set_up(void) {
    strcpy(dir, "/tmp/lpo-media-XXXXXX");
    cr_assert(mkdtemp(dir) != NULL);
    av_log_set_level(AV_LOG_QUIET);
}
static void tear_down(void) {
    lpo_dir_remove(dir, NULL);
}
TestSuite(decode, .init = set_up, .fini = tear_down);
TestSuite(refuse, .init = set_up, .fini = tear_down);
TestSuite(encode, .init = set_up, .fini = tear_down);

static const char *at(const char *name) {
    static char path[4][128];
    static int k;
    char *p = path[k++ & 3];
    snprintf(p, 128, "%s/%s", dir, name);
    return p;
}

static void write_text(const char *path, const char *text) {
    cr_assert_eq(lpo_file_write(path, text, strlen(text), NULL), LPO_OK);
}

/* ---- making files: frame i is flat luma `level(i)` (in 8-bit terms) under a step at half width, chroma by
 * plane ---- */

typedef struct source {
    const char *codec, *pix_fmt;
    int width, height, n_frames, gop, b_frames, fps;
    const char *options; /* k=v:k=v, private */
} source;

static int level(int i) {
    return 40 + (i * 37) % 160;
}

/* Sample of component k at (x, y) of its plane, 8-bit. */
static int sample(int k, int x, int y, int plane_w, int i) {
    (void)y;
    if (k == 0) return level(i) + (x >= plane_w / 2 ? 20 : 0);
    return k == 1 ? 100 : 150;
}

static void fill(AVFrame *f, int i) {
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(f->format);
    for (int k = 0; k < AV_NUM_DATA_POINTERS && f->buf[k]; k++) memset(f->buf[k]->data, 0, f->buf[k]->size);
    for (int k = 0; k < d->nb_components; k++) { /* av_write_image_line ors its bits in */
        int chroma = (k == 1 || k == 2) && !(d->flags & AV_PIX_FMT_FLAG_RGB);
        int w = chroma ? AV_CEIL_RSHIFT(f->width, d->log2_chroma_w) : f->width;
        int h = chroma ? AV_CEIL_RSHIFT(f->height, d->log2_chroma_h) : f->height;
        uint16_t row[1024];
        for (int y = 0; y < h; y++) {
            for (int x = 0; x < w; x++) {
                int v = sample(k, x, y, w, i), depth = d->comp[k].depth;
                int full = (d->flags & AV_PIX_FMT_FLAG_RGB) != 0;
                row[x] = (uint16_t)(full ? (v * ((1 << depth) - 1) + 127) / 255 : v << (depth - 8));
            }
            av_write_image_line(row, f->data, f->linesize, d, 0, y, k, w);
        }
    }
}

static void drain(AVFormatContext *fmt, AVCodecContext *c, AVPacket *pkt) {
    while (avcodec_receive_packet(c, pkt) >= 0) {
        if (!pkt->duration) pkt->duration = 1;
        av_packet_rescale_ts(pkt, c->time_base, fmt->streams[0]->time_base);
        pkt->stream_index = 0;
        cr_assert_geq(av_interleaved_write_frame(fmt, pkt), 0);
    }
}

/* 0 when the encoder is not in this FFmpeg. */
static int make_video(const char *path, const source *s) {
    const AVCodec *codec = avcodec_find_encoder_by_name(s->codec);
    if (!codec) {
        cr_log_warn("skipped: this FFmpeg has no encoder %s", s->codec);
        return 0;
    }
    AVFormatContext *fmt = NULL;
    avformat_alloc_output_context2(&fmt, NULL, NULL, path);
    AVStream *st = avformat_new_stream(fmt, NULL);
    AVCodecContext *c = avcodec_alloc_context3(codec);
    c->width = s->width, c->height = s->height;
    c->pix_fmt = av_get_pix_fmt(s->pix_fmt);
    c->time_base = (AVRational){1, s->fps ? s->fps : 25};
    c->framerate = (AVRational){s->fps ? s->fps : 25, 1};
    c->gop_size = s->gop ? s->gop : 12;
    c->max_b_frames = s->b_frames;
    c->thread_count = 1;
    c->strict_std_compliance = FF_COMPLIANCE_EXPERIMENTAL;
    c->bit_rate = 2000000;
    if (fmt->oformat->flags & AVFMT_GLOBALHEADER) c->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    if (s->options)
        cr_assert_geq(av_set_options_string(c->priv_data, s->options, "=", ":"), 0, "%s", s->options);
    if (avcodec_open2(c, codec, NULL) < 0) {
        cr_log_warn("skipped: encoder %s does not open for %s %dx%d", s->codec, s->pix_fmt, s->width,
                    s->height);
        avcodec_free_context(&c);
        avformat_free_context(fmt);
        return 0;
    }
    avcodec_parameters_from_context(st->codecpar, c);
    st->time_base = c->time_base;
    st->avg_frame_rate = c->framerate;
    cr_assert_geq(avio_open(&fmt->pb, path, AVIO_FLAG_WRITE), 0);
    cr_assert_geq(avformat_write_header(fmt, NULL), 0);
    AVFrame *f = av_frame_alloc();
    AVPacket *pkt = av_packet_alloc();
    f->format = c->pix_fmt, f->width = c->width, f->height = c->height;
    cr_assert_geq(av_frame_get_buffer(f, 0), 0);
    for (int i = 0; i < s->n_frames; i++) {
        cr_assert_geq(av_frame_make_writable(f), 0);
        fill(f, i);
        f->pts = i;
        cr_assert_geq(avcodec_send_frame(c, f), 0);
        drain(fmt, c, pkt);
    }
    avcodec_send_frame(c, NULL);
    drain(fmt, c, pkt);
    cr_assert_geq(av_write_trailer(fmt), 0);
    avio_closep(&fmt->pb);
    av_frame_free(&f), av_packet_free(&pkt);
    avcodec_free_context(&c);
    avformat_free_context(fmt);
    return 1;
}

/* ---- reading them ---- */

enum { KEPT = 256 };
typedef struct seen {
    int n, i[KEPT];
    double left[KEPT], right[KEPT]; /* mean of plane 0 over each half */
    uint64_t hash[KEPT];
    lpo_frame last; /* planes not valid afterwards */
    double second, third;
} seen;

static lpo_status look(void *user, int i, const lpo_frame *f, lpo_error *err) {
    seen *s = user;
    (void)err;
    if (s->n >= KEPT) return lpo_fail(err, LPO_ELIMIT, "too many");
    double half[2] = {0, 0}, count[2] = {0, 0};
    uint64_t h = 1469598103934665603u;
    int step = f->pixfmt == LPO_PIX_RGB24 ? 3 : 1;
    for (int y = 0; y < f->height; y++)
        for (int x = 0; x < f->width; x++) {
            int v = f->plane[0][(ptrdiff_t)y * f->pitch_bytes[0] + x * step];
            half[x >= f->width / 2] += v;
            count[x >= f->width / 2] += 1;
            h = (h ^ (uint64_t)v) * 1099511628211u;
        }
    s->i[s->n] = i;
    s->left[s->n] = half[0] / count[0], s->right[s->n] = half[1] / count[1];
    s->hash[s->n++] = h;
    s->last = *f;
    if (f->pixfmt == LPO_PIX_RGB24)
        s->second = f->plane[0][1], s->third = f->plane[0][2];
    else if (f->pixfmt == LPO_PIX_NV12)
        s->second = f->plane[1][0], s->third = f->plane[1][1];
    else
        s->second = f->plane[1][0], s->third = f->plane[2][0];
    return LPO_OK;
}

static lpo_video *open_ok(const char *path, int threads) {
    lpo_error err = {0};
    lpo_video *v = NULL;
    cr_assert_eq(lpo_video_open(&v, path, NULL, threads, &err), LPO_OK, "%s", err.msg);
    return v;
}

static void read_ok(lpo_video *v, seen *s, const int64_t *indices, int n) {
    lpo_error err = {0};
    memset(s, 0, sizeof *s);
    cr_assert_eq(lpo_video_read(v, indices, n, look, s, &err), LPO_OK, "%s", err.msg);
    cr_assert_eq(s->n, n);
    for (int i = 0; i < n; i++) cr_assert_eq(s->i[i], i);
}

static const int64_t *upto(int n) {
    static int64_t all[KEPT];
    for (int i = 0; i < n; i++) all[i] = i;
    return all;
}

typedef struct row {
    source src;
    const char *file;
    lpo_pixfmt pixfmt;
    double tolerance; /* of a flat half's mean, in code values; 0 where coding is lossless */
    double flat;      /* > 0: plane 0 is this everywhere (GBRP: it is G) */
} row;

static const row rows[] = {
    {{"libx264", "yuv420p", 64, 48, 20, 8, 2, 25, "preset=veryfast:crf=12"},
     "a.mp4",
     LPO_PIX_YUV420P,
     1.5,
     0},
    {{"libx264", "yuv420p", 64, 48, 20, 8, 2, 25, "preset=veryfast:crf=12"},
     "a.mkv",
     LPO_PIX_YUV420P,
     1.5,
     0},
    {{"libx264", "yuv420p", 64, 48, 20, 8, 2, 25, "preset=veryfast:crf=12"}, "a.ts", LPO_PIX_YUV420P, 1.5, 0},
    {{"libx264", "yuv422p", 62, 46, 20, 8, 2, 25, "preset=veryfast:crf=12"},
     "b.mp4",
     LPO_PIX_YUV422P,
     1.5,
     0},
    {{"libx264", "yuv444p", 57, 41, 20, 8, 2, 25, "preset=veryfast:crf=12"},
     "c.mp4",
     LPO_PIX_YUV444P,
     1.5,
     0},
    {{"libx264", "yuv420p10le", 64, 48, 20, 8, 2, 25, "preset=veryfast:crf=12"},
     "d.mp4",
     LPO_PIX_YUV420P,
     1.5,
     0},
    {{"libx264", "yuv422p10le", 64, 48, 20, 8, 2, 25, "preset=veryfast:crf=12"},
     "e.mp4",
     LPO_PIX_YUV422P,
     1.5,
     0},
    {{"libx264rgb", "bgr24", 64, 48, 20, 8, 0, 25, "preset=veryfast:crf=0"}, "f.mp4", LPO_PIX_GBRP, 0, 100},
    {{"libx265", "yuv420p", 64, 48, 20, 8, 2, 25, "preset=ultrafast:crf=12:x265-params=log-level=none"},
     "g.mp4",
     LPO_PIX_YUV420P,
     1.5,
     0},
    {{"libx265", "yuv420p10le", 64, 48, 20, 8, 2, 25, "preset=ultrafast:crf=12:x265-params=log-level=none"},
     "h.mp4",
     LPO_PIX_YUV420P,
     1.5,
     0},
    {{"libvpx-vp9", "yuv420p", 57, 41, 20, 8, 0, 25, "deadline=realtime:cpu-used=8:crf=10"},
     "i.webm",
     LPO_PIX_YUV420P,
     2,
     0},
    {{"libvpx-vp9", "yuv420p", 57, 41, 20, 8, 0, 25,
      "deadline=good:cpu-used=5:auto-alt-ref=1:lag-in-frames=16:crf=10"},
     "j.webm",
     LPO_PIX_YUV420P,
     2,
     0},
    {{"libvpx", "yuv420p", 57, 41, 60, 30, 0, 25,
      "deadline=good:cpu-used=5:auto-alt-ref=1:lag-in-frames=16:crf=10"},
     "k.webm",
     LPO_PIX_YUV420P,
     3,
     0},
    {{"libvpx-vp9", "yuv444p10le", 57, 41, 20, 8, 0, 25, "deadline=realtime:cpu-used=8:crf=10"},
     "l.webm",
     LPO_PIX_YUV444P,
     2,
     0},
    {{"libaom-av1", "yuv420p", 57, 41, 10, 8, 0, 25, "cpu-used=8:usage=realtime:crf=10"},
     "m.mp4",
     LPO_PIX_YUV420P,
     2,
     0},
    {{"libaom-av1", "yuv420p10le", 64, 64, 10, 8, 0, 25, "cpu-used=8:crf=10"},
     "n.mp4",
     LPO_PIX_YUV420P,
     2,
     0},
    {{"mpeg4", "yuv420p", 57, 41, 20, 8, 2, 25, NULL}, "o.mp4", LPO_PIX_YUV420P, 3, 0},
    {{"mpeg4", "yuv420p", 57, 41, 20, 8, 0, 25, NULL}, "p.avi", LPO_PIX_YUV420P, 3, 0},
    {{"mpeg2video", "yuv420p", 64, 48, 20, 8, 2, 25, NULL}, "q.mpg", LPO_PIX_YUV420P, 3, 0},
    {{"mjpeg", "yuvj420p", 57, 41, 20, 1, 0, 25, NULL}, "r.avi", LPO_PIX_YUV420P, 2, 0},
    {{"ffv1", "yuv420p", 57, 41, 20, 1, 0, 25, NULL}, "s.mkv", LPO_PIX_YUV420P, 0, 0},
    {{"ffv1", "yuv422p", 57, 41, 20, 1, 0, 25, NULL}, "t.mkv", LPO_PIX_YUV422P, 0, 0},
    {{"ffv1", "yuv444p", 57, 41, 20, 1, 0, 25, NULL}, "u.mkv", LPO_PIX_YUV444P, 0, 0},
    {{"ffv1", "yuv420p10le", 57, 41, 20, 1, 0, 25, NULL}, "v.mkv", LPO_PIX_YUV420P, 0, 0},
    {{"ffv1", "yuv422p10le", 57, 41, 20, 1, 0, 25, NULL}, "w.mkv", LPO_PIX_YUV422P, 0, 0},
    {{"ffv1", "yuv444p16le", 57, 41, 20, 1, 0, 25, NULL}, "x.mkv", LPO_PIX_YUV444P, 0, 0},
    {{"ffv1", "yuva420p", 57, 41, 20, 1, 0, 25, NULL}, "y.mkv", LPO_PIX_YUV420P, 0, 0},
    {{"ffv1", "yuv411p", 57, 41, 20, 1, 0, 25, NULL}, "z.mkv", LPO_PIX_YUV444P, 0, 0},
    {{"ffv1", "yuv440p", 57, 41, 20, 1, 0, 25, NULL}, "0.mkv", LPO_PIX_YUV444P, 0, 0},
    {{"ffv1", "bgr0", 57, 41, 20, 1, 0, 25, NULL}, "1.mkv", LPO_PIX_RGB24, 0, 0},
    {{"ffv1", "gbrp10le", 57, 41, 20, 1, 0, 25, NULL}, "2.mkv", LPO_PIX_RGB24, 0, 0},
    {{"ffv1", "gray", 57, 41, 20, 1, 0, 25, NULL}, "3.mkv", LPO_PIX_YUV420P, 0, 0},
    {{"rawvideo", "nv12", 57, 41, 20, 1, 0, 25, NULL}, "4.nut", LPO_PIX_NV12, 0, 0},
    {{"rawvideo", "rgb24", 57, 41, 20, 1, 0, 25, NULL}, "5.nut", LPO_PIX_RGB24, 0, 0},
    {{"rawvideo", "yuyv422", 58, 41, 20, 1, 0, 25, NULL}, "6.nut", LPO_PIX_YUV422P, 0, 0},
    {{"gif", "gray", 57, 41, 10, 1, 0, 25, NULL}, "7.gif", LPO_PIX_RGB24, 0, 0},
};

/* Truth: whatever the codec, depth and chroma layout, frame i decodes to frame i, 8-bit, of the size it had,
 * and the count and the rate are exact. Code values survive depth reduction: v << (depth-8) comes back as v.
 */
Test(decode, every_codec_and_layout) {
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        const row *r = &rows[k];
        const char *path = at(r->file);
        if (!make_video(path, &r->src)) continue;
        lpo_video *v = open_ok(path, 2);
        const lpo_video_info *info = lpo_video_get_info(v);
        cr_expect_eq(info->n_frames, r->src.n_frames, "%s %s: %d frames", r->src.codec, r->file,
                     (int)info->n_frames);
        cr_expect_eq(info->width, r->src.width);
        cr_expect_eq(info->height, r->src.height);
        cr_expect_float_eq(info->fps, 25, 0.05, "%s: %g fps", r->file, info->fps);
        seen s;
        read_ok(v, &s, upto(r->src.n_frames), r->src.n_frames);
        cr_expect_eq(s.last.pixfmt, r->pixfmt, "%s %s: layout %d", r->src.codec, r->src.pix_fmt,
                     s.last.pixfmt);
        /* the step at half width blurs a little in lossy codecs: the halves' means stay close */
        for (int i = 0; i < s.n; i++) {
            double want = r->flat > 0 ? r->flat : level(i), step = r->flat > 0 ? 0 : 20;
            cr_expect_float_eq(s.left[i], want, r->tolerance + 1e-9, "%s %s frame %d: %g for %g", r->file,
                               r->src.pix_fmt, i, s.left[i], want);
            cr_expect_float_eq(s.right[i], want + step, r->tolerance + 1e-9,
                               "%s %s frame %d right: %g for %g", r->file, r->src.pix_fmt, i, s.right[i],
                               want + step);
        }
        lpo_video_close(v);
        unlink(path);
    }
}

/* Truth: 10 to 8 bits rounds half up in limited range ((v+2)>>2, so 939 -> 235) and to the nearest in full
 * range (v*255/1023); chroma tags and range tags arrive. */
Test(decode, documented_rounding_and_tags) {
    struct {
        int value, range, want;
    } cases[] = {{64, AVCOL_RANGE_MPEG, 16},   {937, AVCOL_RANGE_MPEG, 234},  {938, AVCOL_RANGE_MPEG, 235},
                 {939, AVCOL_RANGE_MPEG, 235}, {1023, AVCOL_RANGE_MPEG, 255}, {1023, AVCOL_RANGE_JPEG, 255},
                 {512, AVCOL_RANGE_JPEG, 128}, {2, AVCOL_RANGE_JPEG, 0},      {3, AVCOL_RANGE_JPEG, 1}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        const char *path = at("tag.mkv");
        const AVCodec *codec = avcodec_find_encoder_by_name("ffv1");
        if (!codec) cr_skip_test("this FFmpeg has no ffv1 encoder");
        AVFormatContext *fmt = NULL;
        avformat_alloc_output_context2(&fmt, NULL, NULL, path);
        AVStream *st = avformat_new_stream(fmt, NULL);
        AVCodecContext *c = avcodec_alloc_context3(codec);
        c->width = c->height = 16;
        c->pix_fmt = AV_PIX_FMT_YUV420P10LE;
        c->time_base = (AVRational){1, 25};
        c->color_range = cases[k].range;
        c->colorspace = k & 1 ? AVCOL_SPC_BT709 : AVCOL_SPC_BT2020_NCL;
        cr_assert_geq(avcodec_open2(c, codec, NULL), 0);
        avcodec_parameters_from_context(st->codecpar, c);
        cr_assert_geq(avio_open(&fmt->pb, path, AVIO_FLAG_WRITE), 0);
        cr_assert_geq(avformat_write_header(fmt, NULL), 0);
        AVFrame *f = av_frame_alloc();
        AVPacket *pkt = av_packet_alloc();
        f->format = c->pix_fmt, f->width = f->height = 16, f->pts = 0;
        av_frame_get_buffer(f, 0);
        for (int p = 0; p < 3; p++)
            for (int y = 0; y < (p ? 8 : 16); y++)
                for (int x = 0; x < (p ? 8 : 16); x++)
                    ((uint16_t *)(void *)(f->data[p] + y * f->linesize[p]))[x] = (uint16_t)cases[k].value;
        avcodec_send_frame(c, f), drain(fmt, c, pkt);
        avcodec_send_frame(c, NULL), drain(fmt, c, pkt);
        av_write_trailer(fmt), avio_closep(&fmt->pb);
        av_frame_free(&f), av_packet_free(&pkt), avcodec_free_context(&c), avformat_free_context(fmt);

        lpo_video *v = open_ok(path, 1);
        seen s;
        read_ok(v, &s, upto(1), 1);
        cr_expect_float_eq(s.left[0], cases[k].want, 1e-9, "%d -> %g", cases[k].value, s.left[0]);
        cr_expect_float_eq(s.second, cases[k].want, 1e-9);
        cr_expect_eq(s.last.full_range, cases[k].range == AVCOL_RANGE_JPEG);
        cr_expect_eq(s.last.matrix, k & 1 ? LPO_MATRIX_BT709 : LPO_MATRIX_BT2020);
        lpo_video_close(v);
    }
}

/* Truth: a frame's bytes do not depend on which frames are asked for with it, nor on jumps, threads or
 * earlier reads. */
Test(decode, any_choice_gives_the_same_frames) {
    static const source kinds[] = {
        {"libx264", "yuv420p", 64, 48, 240, 30, 3, 25, "preset=veryfast:crf=12"},
        {"libx264", "yuv420p", 64, 48, 240, 30, 3, 25, "preset=veryfast:crf=12:x264-params=open-gop=1"},
        {"libx264", "yuv420p", 64, 48, 240, 30, 0, 25, "preset=veryfast:crf=12:intra-refresh=1"},
        {"libx265", "yuv420p", 64, 48, 240, 30, 3, 25, "preset=ultrafast:x265-params=log-level=none"},
        {"mpeg4", "yuv420p", 64, 48, 240, 30, 2, 25, NULL}};
    static const char *const ends[] = {"mp4", "mkv", "ts"};
    const int64_t picks[] = {0, 0, 5, 29, 30, 31, 119, 120, 120, 150, 211, 238};
    const int n = sizeof picks / sizeof *picks;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds * 3; k++) {
        const char *end = ends[k % 3];
        char name[32];
        snprintf(name, sizeof name, "pick%zu.%s", k, end);
        if (!make_video(at(name), &kinds[k / 3])) continue;
        lpo_video *v = open_ok(at(name), 1);
        seen all, some;
        read_ok(v, &all, upto(239), 239);
        for (int threads = 1; threads <= 4; threads += 3) {
            lpo_video *w = open_ok(at(name), threads);
            for (int again = 0; again < 2; again++) {
                read_ok(w, &some, picks, n);
                for (int i = 0; i < n; i++)
                    cr_expect_eq(some.hash[i], all.hash[picks[i]], "%s %s (%s): frame %d, %d threads",
                                 kinds[k / 3].codec, name, kinds[k / 3].options, (int)picks[i], threads);
            }
            for (int i = n - 1; i >= 0; i--) { /* one at a time, backwards */
                read_ok(w, &some, picks + i, 1);
                cr_expect_eq(some.hash[0], all.hash[picks[i]], "%s: frame %d alone", name, (int)picks[i]);
            }
            lpo_video_close(w);
        }
        lpo_video_close(v);
    }
}

/* Truth: indices out of range or out of order are told, and a callback's own failure ends the read and comes
 * back. */
static lpo_status refuse_second(void *user, int i, const lpo_frame *f, lpo_error *err) {
    (void)f;
    ++*(int *)user;
    return i == 1 ? lpo_fail(err, LPO_ENUMERIC, "enough") : LPO_OK;
}
Test(decode, bad_requests) {
    source s = {"mpeg4", "yuv420p", 64, 48, 10, 8, 0, 25, NULL};
    if (!make_video(at("a.mp4"), &s)) cr_skip_test("no mpeg4 encoder");
    lpo_video *v = open_ok(at("a.mp4"), 1);
    lpo_error err = {0};
    seen x = {0};
    cr_expect_eq(lpo_video_read(v, (int64_t[]){3, 2}, 2, look, &x, &err), LPO_EINVAL);
    cr_expect_eq(lpo_video_read(v, (int64_t[]){10}, 1, look, &x, &err), LPO_EINVAL);
    cr_expect(strstr(err.msg, "frames 0 to 9"), "%s", err.msg);
    cr_expect_eq(lpo_video_read(v, (int64_t[]){-1}, 1, look, &x, &err), LPO_EINVAL);
    int calls = 0;
    cr_expect_eq(lpo_video_read(v, upto(5), 5, refuse_second, &calls, &err), LPO_ENUMERIC);
    cr_expect_eq(calls, 2);
    read_ok(v, &x, upto(10), 10); /* and the reader is still good */
    lpo_video_close(v);
}

/* ---- files that are not what they should be ---- */

static void expect_refused(const char *path, lpo_status want, const char *word) {
    lpo_error err = {0};
    lpo_video *v = NULL;
    lpo_status s = lpo_video_open(&v, path, NULL, 1, &err);
    cr_expect_eq(s, want, "%s: status %d, %s", path, s, err.msg);
    cr_expect(strstr(err.msg, word), "%s: '%s' does not say '%s'", path, err.msg, word);
    cr_expect(strstr(err.msg, path), "the message names the file: %s", err.msg);
    cr_expect_null(v);
    lpo_video_close(v);
}

/* Truth: each kind of wrong file has its own words. */
Test(refuse, wrong_files) {
    expect_refused(at("none.mp4"), LPO_ENOTFOUND, "No such file");
    expect_refused(dir, LPO_EINVAL, "not a regular file");
    write_text(at("empty.mp4"), "");
    expect_refused(at("empty.mp4"), LPO_EFORMAT, "empty");
    write_text(at("text.mp4"), "this is a text, renamed\nwith two lines\n");
    expect_refused(at("text.mp4"), LPO_EFORMAT, "text");
    write_text(at("page.mp4"), "<!DOCTYPE html><html><body>404 not found</body></html>\n");
    expect_refused(at("page.mp4"), LPO_EFORMAT, "text");
}

/* Truth: nothing that names another file or address is followed, whatever its own name. */
Test(refuse, playlists) {
    static const char hls[] = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:0\n"
                              "#EXTINF:4.0,\nhttp://127.0.0.1:9/seg0.ts\n#EXT-X-ENDLIST\n";
    write_text(at("list.m3u8"), hls);
    expect_refused(at("list.m3u8"), LPO_EUNSUPPORTED, "playlist");
    write_text(at("list.mp4"), hls);
    expect_refused(at("list.mp4"), LPO_EUNSUPPORTED, "playlist");
    write_text(at("concat.mp4"), "ffconcat version 1.0\nfile http://127.0.0.1:9/a.mp4\n");
    expect_refused(at("concat.mp4"), LPO_EUNSUPPORTED, "playlist");
    write_text(at("sdp.mp4"),
               "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n");
    lpo_error err;
    lpo_video *v;
    cr_expect_neq(lpo_video_open(&v, at("sdp.mp4"), NULL, 1, &err), LPO_OK);
    cr_expect_eq(lpo_video_open(&v, "http://127.0.0.1:9/a.mp4", NULL, 1, &err), LPO_ENOTFOUND);
    cr_expect_eq(lpo_video_open(&v, "concat:a.mp4|b.mp4", NULL, 1, &err), LPO_ENOTFOUND);
}

static void cut(const char *from, const char *to, double part) {
    char *data;
    size_t size;
    cr_assert_eq(lpo_file_read(&data, &size, from, 1 << 24, NULL), LPO_OK);
    cr_assert_eq(lpo_file_write(to, data, (size_t)((double)size * part), NULL), LPO_OK);
    free(data);
}

/* Truth: a file that stops early is told, whether its index comes last (nothing to go by) or first. */
Test(refuse, truncated) {
    source s = {"mpeg4", "yuv420p", 64, 48, 50, 8, 0, 25, NULL};
    if (!make_video(at("a.mp4"), &s)) cr_skip_test("no mpeg4 encoder");
    cut(at("a.mp4"), at("half.mp4"), 0.5);
    expect_refused(at("half.mp4"), LPO_EFORMAT, "cut short");
    /* index first: move the boxes by hand. mdat grows no longer than the file, so offsets stay right when
     * moov, placed before mdat, is replaced by a free box and the original stays last; simplest is a file
     * whose end is cut inside a sample that the index names: drop the tail of mdat but keep moov. */
    char *data;
    size_t size;
    cr_assert_eq(lpo_file_read(&data, &size, at("a.mp4"), 1 << 24, NULL), LPO_OK);
    size_t moov = 0;
    for (size_t i = 0; i + 4 < size; i++)
        if (!memcmp(data + i, "moov", 4)) moov = i - 4;
    cr_assert_gt(moov, 0);
    size_t ftyp = 0;
    for (int i = 0; i < 4; i++) ftyp = ftyp << 8 | (unsigned char)data[i];
    /* [ftyp][moov][free][mdat...], where moov+free keep mdat's payload at 1 MiB further on, and stco is
     * shifted so */
    size_t shift = size - moov, n = 0;
    char *out = calloc(1, size);
    memcpy(out, data, ftyp), n = ftyp;
    memcpy(out + n, data + moov, shift), n += shift;
    for (size_t i = ftyp; i < n; i++)
        if (!memcmp(out + i, "stco", 4)) {
            unsigned char *p = (unsigned char *)out + i + 12;
            int entries = ((unsigned char *)out)[i + 11];
            for (int e = 0; e < entries; e++, p += 4) {
                uint32_t o = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
                o += (uint32_t)shift;
                p[0] = (unsigned char)(o >> 24), p[1] = (unsigned char)(o >> 16),
                p[2] = (unsigned char)(o >> 8);
                p[3] = (unsigned char)o;
            }
        }
    memcpy(out + n, data + ftyp, moov - ftyp), n += moov - ftyp;
    cr_assert_eq(lpo_file_write(at("first.mp4"), out, n, NULL), LPO_OK);
    lpo_video *v = open_ok(at("first.mp4"), 1); /* whole, it is good */
    seen x;
    read_ok(v, &x, upto(50), 50);
    lpo_video_close(v);
    cut(at("first.mp4"), at("stopped.mp4"), 0.8);
    expect_refused(at("stopped.mp4"), LPO_EFORMAT, "cut short");
    free(out), free(data);
}

/* Truth: sound alone is not a video. */
Test(refuse, no_video_stream) {
    char wav[44 + 2000] = "RIFF";
    uint32_t head[] = {36 + 2000, 0x45564157, 0x20746d66,   16,         1 | 1 << 16,
                       8000,      16000,      2 | 16 << 16, 0x61746164, 2000};
    memcpy(wav + 4, head, sizeof head);
    cr_assert_eq(lpo_file_write(at("sound.mp4"), wav, sizeof wav, NULL), LPO_OK);
    lpo_error err = {0};
    lpo_video *v = NULL;
    cr_expect_eq(lpo_video_open(&v, at("sound.mp4"), NULL, 1, &err), LPO_EUNSUPPORTED, "%s", err.msg);
    /* the same in a container that could hold video */
    const AVCodec *codec = avcodec_find_encoder(AV_CODEC_ID_PCM_S16LE);
    AVFormatContext *fmt = NULL;
    avformat_alloc_output_context2(&fmt, NULL, NULL, at("sound.mkv"));
    AVStream *st = avformat_new_stream(fmt, NULL);
    AVCodecContext *c = avcodec_alloc_context3(codec);
    c->sample_fmt = AV_SAMPLE_FMT_S16, c->sample_rate = 8000, c->time_base = (AVRational){1, 8000};
    c->ch_layout = (AVChannelLayout)AV_CHANNEL_LAYOUT_MONO;
    cr_assert_geq(avcodec_open2(c, codec, NULL), 0);
    avcodec_parameters_from_context(st->codecpar, c);
    cr_assert_geq(avio_open(&fmt->pb, at("sound.mkv"), AVIO_FLAG_WRITE), 0);
    cr_assert_geq(avformat_write_header(fmt, NULL), 0);
    AVPacket *pkt = av_packet_alloc();
    av_new_packet(pkt, 2000);
    memset(pkt->data, 0, 2000);
    pkt->pts = pkt->dts = 0;
    av_write_frame(fmt, pkt);
    av_packet_free(&pkt);
    av_write_trailer(fmt), avio_closep(&fmt->pb);
    avcodec_free_context(&c), avformat_free_context(fmt);
    expect_refused(at("sound.mkv"), LPO_EFORMAT, "no video stream");
}

/* Truth: limits act on what the header claims, before any frame memory exists, and name the dimensions. */
Test(refuse, over_the_limits) {
    source s = {"libx264", "yuv420p", 64, 48, 20, 8, 0, 25, NULL};
    if (!make_video(at("a.mp4"), &s)) cr_skip_test("no libx264 encoder");
    char *data;
    size_t size;
    cr_assert_eq(lpo_file_read(&data, &size, at("a.mp4"), 1 << 24, NULL), LPO_OK);
    for (size_t i = 0; i + 40 < size; i++)
        if (!memcmp(data + i, "avc1", 4) &&
            data[i + 11] == 1) { /* sample entry: width at +28, height at +30 */
            unsigned char dims[4] = {40000 >> 8, 40000 & 255, 40000 >> 8, 40000 & 255};
            memcpy(data + i + 28, dims, 4);
        }
    cr_assert_eq(lpo_file_write(at("huge.mp4"), data, size, NULL), LPO_OK);
    free(data);
    expect_refused(at("huge.mp4"), LPO_ELIMIT, "40000x40000");

    lpo_error err;
    lpo_video *v;
    lpo_video_limits l = lpo_video_limits_default();
    l.max_width = 63;
    cr_expect_eq(lpo_video_open(&v, at("a.mp4"), &l, 1, &err), LPO_ELIMIT);
    cr_expect(strstr(err.msg, "64x48"), "%s", err.msg);
    l = lpo_video_limits_default(), l.max_frames = 19;
    cr_expect_eq(lpo_video_open(&v, at("a.mp4"), &l, 1, &err), LPO_ELIMIT);
    l = lpo_video_limits_default(), l.max_duration_s = 0.5;
    cr_expect_eq(lpo_video_open(&v, at("a.mp4"), &l, 1, &err), LPO_ELIMIT);
    l = lpo_video_limits_default(), l.max_pixels = 64 * 48 - 1;
    cr_expect_eq(lpo_video_open(&v, at("a.mp4"), &l, 1, &err), LPO_ELIMIT);
    s.codec = "mpeg4",
    s.options = NULL; /* its size is in the bit stream alone: the decoder is what refuses */
    if (!make_video(at("b.mp4"), &s)) return;
    cr_expect_eq(lpo_video_open(&v, at("b.mp4"), &l, 1, &err), LPO_ELIMIT);
    cr_expect(strstr(err.msg, "64x48"), "%s", err.msg);
}

/* ---- the encoder ---- */

/* A square that moves over noise: B frames and motion search have work to do. */
static void paint(uint8_t *rgb, int w, int h, int i) {
    uint32_t noise = (uint32_t)i + 1;
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++, rgb += 3) {
            noise = noise * 1664525u + 1013904223u;
            int in = x > 4 * i && x < 4 * i + 16 && y > 10 && y < 30, n = (int)(noise >> 28);
            rgb[0] = (uint8_t)(in ? 220 + n : n), rgb[1] = (uint8_t)(x + n),
            rgb[2] = (uint8_t)(in ? i * 20 : y + n);
        }
}

static lpo_status encode_file(const char *path, const lpo_encode_options *o, int n, lpo_error *err) {
    lpo_encoder *e;
    lpo_status s = lpo_encoder_open(&e, path, o, err);
    if (s) return s;
    uint8_t *rgb = malloc((size_t)(o->width * o->height * 3));
    for (int i = 0; !s && i < n; i++) {
        paint(rgb, o->width, o->height, i);
        s = lpo_encoder_put(e, rgb, err);
    }
    free(rgb);
    if (s) {
        lpo_encoder_abort(e);
        return s;
    }
    return lpo_encoder_finish(e, err);
}

/* Truth: the same frames give the same bytes whatever malloc's memory held before (x264's defaults do not),
 * with no encoder name inside, and no .tmp is left. */
Test(encode, same_bytes) {
    lpo_encode_options o = {.width = 112, .height = 80, .fps = 8, .crf = 20};
    lpo_error err = {0};
    char *a, *b;
    size_t na, nb;
    for (int fill = 1; fill < 256; fill += 50) {
        cr_assert_eq(encode_file(at("a.mp4"), &o, 8, &err), LPO_OK, "%s", err.msg);
        mallopt(M_PERTURB, fill);
        cr_assert_eq(encode_file(at("b.mp4"), &o, 8, &err), LPO_OK, "%s", err.msg);
        cr_assert_eq(lpo_file_read(&a, &na, at("a.mp4"), 1 << 24, &err), LPO_OK);
        cr_assert_eq(lpo_file_read(&b, &nb, at("b.mp4"), 1 << 24, &err), LPO_OK);
        cr_assert(na == nb && memcmp(a, b, na) == 0, "with memory filled by %d", fill);
        if (fill + 50 < 256) free(a), free(b);
    }
    cr_expect_null(memmem(a, na, "x264", 4));
    cr_expect_null(memmem(a, na, "Lavf", 4));
    cr_expect_not(lpo_path_exists(at("a.mp4.tmp")));
    free(a), free(b);
    lpo_video *v = open_ok(at("a.mp4"), 1);
    const lpo_video_info *info = lpo_video_get_info(v);
    cr_expect_eq(info->n_frames, 8);
    cr_expect_float_eq(info->fps, 8, 1e-9);
    cr_expect_float_eq(info->duration_s, 1, 1e-9);
    lpo_video_close(v);
}

/* Truth: pure colours land on their BT.601 limited code points (white 235, red 81/90/240, ...) and the stream
 * says so. */
static const struct {
    uint8_t rgb[3];
    int y, u, v;
} colours[] = {{{255, 255, 255}, 235, 128, 128}, {{0, 0, 0}, 16, 128, 128},
               {{255, 0, 0}, 81, 90, 240},       {{0, 255, 0}, 145, 54, 34},
               {{0, 0, 255}, 41, 240, 110},      {{128, 128, 128}, 126, 128, 128}};
Test(encode, colours_and_tags) {
    for (size_t k = 0; k < sizeof colours / sizeof *colours; k++) {
        lpo_encode_options o = {.codec = "ffv1", .width = 33, .height = 17, .fps = 8};
        lpo_error err = {0};
        lpo_encoder *e;
        uint8_t rgb[33 * 17 * 3];
        for (int i = 0; i < 33 * 17; i++) memcpy(rgb + 3 * i, colours[k].rgb, 3);
        cr_assert_eq(lpo_encoder_open(&e, at("c.mkv"), &o, &err), LPO_OK, "%s", err.msg);
        cr_assert_eq(lpo_encoder_put(e, rgb, &err), LPO_OK, "%s", err.msg);
        cr_assert_eq(lpo_encoder_finish(e, &err), LPO_OK, "%s", err.msg);
        lpo_video *v = open_ok(at("c.mkv"), 1);
        seen s;
        read_ok(v, &s, upto(1), 1);
        cr_expect_float_eq(s.left[0], colours[k].y, 1e-9, "Y %g", s.left[0]);
        cr_expect_float_eq(s.second, colours[k].u, 1e-9, "U %g", s.second);
        cr_expect_float_eq(s.third, colours[k].v, 1e-9, "V %g", s.third);
        cr_expect_eq(s.last.matrix, LPO_MATRIX_BT601);
        cr_expect_eq(s.last.full_range, 0);
        lpo_video_close(v);
    }
}

/* Truth: lossless_rgb returns every byte, odd sizes included. */
static lpo_status compare_painted(void *user, int i, const lpo_frame *f, lpo_error *err) {
    uint8_t want[57 * 41 * 3];
    (void)err;
    paint(want, 57, 41, i);
    for (int y = 0; y < 41; y++)
        cr_expect(memcmp(want + y * 57 * 3, f->plane[0] + (ptrdiff_t)y * f->pitch_bytes[0], 57 * 3) == 0,
                  "frame %d row %d", i, y);
    ++*(int *)user;
    return LPO_OK;
}
Test(encode, lossless) {
    lpo_encode_options o = {.width = 57, .height = 41, .fps = 10, .lossless_rgb = 1};
    lpo_error err = {0};
    int frames = 0;
    cr_assert_eq(encode_file(at("l.mkv"), &o, 6, &err), LPO_OK, "%s", err.msg);
    lpo_video *v = open_ok(at("l.mkv"), 1);
    cr_assert_eq(lpo_video_read(v, upto(6), 6, compare_painted, &frames, &err), LPO_OK, "%s", err.msg);
    cr_expect_eq(frames, 6);
    lpo_video_close(v);
}

/* Truth: refusals say why, and neither they nor an abort leave a file. */
Test(encode, refusals) {
    lpo_encode_options o = {.codec = "libx264", .width = 57, .height = 41, .fps = 8};
    lpo_error err = {0};
    lpo_encoder *e;
    cr_expect_neq(lpo_encoder_open(&e, at("odd.mp4"), &o, &err), LPO_OK);
    cr_expect(strstr(err.msg, "57x41"), "%s", err.msg);
    o.codec = "no-such-encoder", o.width = o.height = 64;
    cr_expect_eq(lpo_encoder_open(&e, at("a.mp4"), &o, &err), LPO_EUNSUPPORTED);
    o.codec = NULL;
    cr_expect_eq(lpo_encoder_open(&e, at("a.nothing"), &o, &err), LPO_EINVAL);
    cr_expect_neq(lpo_encoder_open(&e, at("no/such/folder.mp4"), &o, &err), LPO_OK);
    cr_expect_eq(lpo_encoder_open(&e, at("a.mp4"), &o, &err), LPO_OK, "%s", err.msg);
    lpo_encoder_abort(e);
    cr_expect_not(lpo_path_exists(at("a.mp4")));
    cr_expect_not(lpo_path_exists(at("a.mp4.tmp")));
}
