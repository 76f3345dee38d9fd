/* SPDX-License-Identifier: Apache-2.0 */
/* demux.c -- see demux.h.
 * What a hostile or careless data set could do here, and what stops it: name a network address (the path is
 * always taken as a file, the protocol whitelist is `file`); be a playlist or script that names others (only
 * the containers below are opened, and a demuxer that wants a second file is refused); be a device or a pipe
 * (only regular files); claim a frame of gigabytes (sizes are checked before, and again by the decoder
 * through max_pixels). */
#include "media/demux.h"

#include <errno.h>
#include <libavcodec/avcodec.h>
#include <libavutil/avstring.h>
#include <libavutil/opt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Demuxers by FFmpeg's name: containers that hold their video themselves. */
static const char containers[] =
    "mov,matroska,avi,mpegts,mpeg,ogg,flv,nut,ivf,asf,h264,hevc,m4v,mpegvideo,obu,av1,"
    "yuv4mpegpipe,gif,apng,mxf,dv,rm,swf";

static _Thread_local char last_line[160];

static void log_line(void *avcl, int level, const char *fmt, va_list args) {
    (void)avcl;
    if (level > AV_LOG_ERROR) return;
    vsnprintf(last_line, sizeof last_line, fmt, args);
    for (size_t n = strlen(last_line); n && strchr("\n. ", last_line[n - 1]); n--) last_line[n - 1] = 0;
    for (char *c = last_line; *c; c++)
        if ((unsigned char)*c < 32) *c = ' ';
}

static void set_log(void) {
    av_log_set_callback(log_line);
}

void lpo_demux_quiet(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, set_log);
}

void lpo_demux_reason_clear(void) {
    last_line[0] = 0;
}

const char *lpo_demux_reason(int averror) {
    static _Thread_local char text[300];
    char what[AV_ERROR_MAX_STRING_SIZE];
    if (av_strerror(averror, what, sizeof what) < 0) snprintf(what, sizeof what, "FFmpeg error %d", averror);
    if (last_line[0])
        snprintf(text, sizeof text, "%s (%s)", what, last_line);
    else
        snprintf(text, sizeof text, "%s", what);
    return text;
}

lpo_video_limits lpo_video_limits_default(void) {
    lpo_video_limits l = {16384, 16384, (int64_t)1 << 26, 2000000, 12 * 3600.0};
    return l;
}

lpo_status lpo_demux_check_size(const lpo_demux *d, int64_t width, int64_t height, lpo_error *err) {
    const lpo_video_limits *l = &d->limits;
    if (width <= l->max_width && height <= l->max_height && width * height <= l->max_pixels) return LPO_OK;
    return lpo_fail(
        err, LPO_ELIMIT,
        "%s: frames of %lldx%lld are over the limit of %lldx%lld and %lld pixels; scale the video down or "
        "raise the limit",
        d->path, (long long)width, (long long)height, (long long)l->max_width, (long long)l->max_height,
        (long long)l->max_pixels);
}

/* A second file is never opened, whatever the first one says. */
static int refuse_open(AVFormatContext *s, AVIOContext **pb, const char *url, int flags,
                       AVDictionary **options) {
    (void)s, (void)pb, (void)flags, (void)options;
    av_log(NULL, AV_LOG_ERROR, "the file refers to another, %.60s, which is not followed", url);
    return AVERROR(EPERM);
}

static int contains_nul(const AVProbeData *p) {
    return memchr(p->buf, 0, (size_t)p->buf_size) != NULL;
}

/* The container by content alone, never by the file's name: a text named .mp4 is told apart here. */
static lpo_status probe(const lpo_demux *d, const AVInputFormat **ifmt, AVIOContext *pb, lpo_error *err) {
    enum { HEAD = 1 << 16 };
    lpo_status s = LPO_OK;
    uint8_t *head = av_mallocz(HEAD + AVPROBE_PADDING_SIZE);
    if (!head) return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", d->path);
    AVProbeData p = {.filename = "", .buf = head};
    p.buf_size = avio_read(pb, head, HEAD);
    *ifmt = p.buf_size > 0 ? av_probe_input_format(&p, 1) : NULL;
    if (*ifmt && !av_match_list((*ifmt)->name, containers, ',')) {
        int playlist = av_match_list((*ifmt)->name, "hls,concat,dash,sdp,rtsp,webm_dash_manifest", ',');
        if (playlist)
            s = lpo_fail(
                err, LPO_EUNSUPPORTED,
                "%s: it is a playlist (%s), and playlists are never followed; name the video file itself",
                d->path, (*ifmt)->name);
        else if (!contains_nul(&p))
            *ifmt = NULL;
        else
            s = lpo_fail(err, LPO_EUNSUPPORTED,
                         "%s: the content is %s, not a video container read here; convert it to MP4 or MKV",
                         d->path, (*ifmt)->long_name ? (*ifmt)->long_name : (*ifmt)->name);
    }
    if (!s && !*ifmt)
        s = lpo_fail(
            err, LPO_EFORMAT, "%s: not a video: %s; check how the file was made or downloaded", d->path,
            contains_nul(&p) ? "the content is of no known container" : "the content looks like text");
    av_free(head);
    if (!s && avio_seek(pb, 0, SEEK_SET) < 0) s = lpo_fail(err, LPO_EIO, "%s: cannot be rewound", d->path);
    return s;
}

static void close_input(lpo_demux *d) {
    if (!d->fmt) return;
    AVIOContext *pb = d->fmt->pb; /* ours, because of AVFMT_FLAG_CUSTOM_IO */
    avformat_close_input(&d->fmt);
    avio_closep(&pb);
    d->stream = NULL;
}

static lpo_status open_io(const lpo_demux *d, AVIOContext **pb, lpo_error *err) {
    char *url = av_asprintf("file:%s", d->path);
    AVDictionary *opts = NULL;
    if (!url) return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", d->path);
    av_dict_set(&opts, "protocol_whitelist", "file", 0);
    int r = avio_open2(pb, url, AVIO_FLAG_READ, NULL, &opts);
    av_dict_free(&opts);
    av_free(url);
    if (r < 0) return lpo_fail(err, LPO_EIO, "%s: cannot be opened: %s", d->path, lpo_demux_reason(r));
    return LPO_OK;
}

/* Stream parameters. max_pixels keeps the probing decoders from allocating what the limits forbid. */
static lpo_status find_streams(lpo_demux *d, lpo_error *err) {
    unsigned n = d->fmt->nb_streams;
    char pixels[24];
    int r = AVERROR(ENOMEM);
    snprintf(pixels, sizeof pixels, "%lld",
             (long long)(d->limits.max_pixels < INT32_MAX ? d->limits.max_pixels : INT32_MAX));
    AVDictionary **opts = av_calloc(n ? n : 1, sizeof *opts);
    if (opts) {
        for (unsigned i = 0; i < n; i++) {
            av_dict_set(&opts[i], "max_pixels", pixels, 0);
            av_dict_set(&opts[i], "threads", "1", 0);
        }
        r = avformat_find_stream_info(d->fmt, opts);
        for (unsigned i = 0; i < n; i++) av_dict_free(&opts[i]);
        av_free(opts);
    }
    if (r < 0)
        return lpo_fail(err, LPO_EFORMAT, "%s: no stream can be read: %s", d->path, lpo_demux_reason(r));
    return LPO_OK;
}

static lpo_status check_headers(const lpo_demux *d, lpo_error *err) {
    for (unsigned i = 0; i < d->fmt->nb_streams; i++) {
        const AVCodecParameters *par = d->fmt->streams[i]->codecpar;
        lpo_status s = LPO_OK;
        if (par->codec_type == AVMEDIA_TYPE_VIDEO) s = lpo_demux_check_size(d, par->width, par->height, err);
        if (s) return s;
    }
    return LPO_OK;
}

static lpo_status choose_stream(lpo_demux *d, lpo_error *err) {
    if (d->fmt->nb_streams == 0)
        return lpo_fail(err, LPO_EFORMAT,
                        "%s: cut short or damaged: it describes no stream at all; fetch it again", d->path);
    int best = av_find_best_stream(d->fmt, AVMEDIA_TYPE_VIDEO, -1, -1, NULL, 0);
    if (best < 0)
        return lpo_fail(err, LPO_EFORMAT, "%s: the file has no video stream (%u stream%s of other kinds)",
                        d->path, d->fmt->nb_streams, d->fmt->nb_streams == 1 ? "" : "s");
    for (unsigned i = 0; i < d->fmt->nb_streams; i++)
        d->fmt->streams[i]->discard = (int)i == best ? AVDISCARD_DEFAULT : AVDISCARD_ALL;
    d->stream = d->fmt->streams[best];
    const AVCodecParameters *par = d->stream->codecpar;
    if (par->width <= 0 || par->height <= 0)
        /* A decoder held back by max_pixels leaves no size, only this line. */
        return lpo_fail(err, strstr(last_line, "Picture size") ? LPO_ELIMIT : LPO_EFORMAT,
                        "%s: the video stream (%s) gives no usable frame size: %s", d->path,
                        avcodec_get_name(par->codec_id), lpo_demux_reason(AVERROR_INVALIDDATA));
    return LPO_OK;
}

static lpo_status open_input(lpo_demux *d, lpo_error *err) {
    AVIOContext *pb = NULL;
    const AVInputFormat *ifmt = NULL;
    lpo_demux_reason_clear();
    lpo_status s = open_io(d, &pb, err);
    if (!s) s = probe(d, &ifmt, pb, err);
    if (!s && !(d->fmt = avformat_alloc_context()))
        s = lpo_fail(err, LPO_ENOMEM, "%s: out of memory", d->path);
    if (s) {
        avio_closep(&pb);
        return s;
    }
    d->fmt->pb = pb;
    d->fmt->flags |= AVFMT_FLAG_CUSTOM_IO;
    d->fmt->io_open = refuse_open;
    /* No URL: a demuxer has nothing to resolve a relative name against. On failure d->fmt is freed and NULL.
     */
    int r = avformat_open_input(&d->fmt, "", ifmt, NULL);
    if (r < 0) {
        avio_closep(&pb);
        return lpo_fail(err, LPO_EFORMAT,
                        "%s: damaged or cut short: %s; try `ffmpeg -i IN -c copy OUT.mp4`, or fetch it again",
                        d->path, lpo_demux_reason(r));
    }
    s = check_headers(d, err);
    if (!s) s = find_streams(d, err);
    if (!s) s = check_headers(d, err);
    if (!s) s = choose_stream(d, err);
    if (s) close_input(d);
    return s;
}

lpo_status lpo_demux_rewind(lpo_demux *d, lpo_error *err) {
    close_input(d);
    return open_input(d, err);
}

lpo_status lpo_demux_packet(lpo_demux *d, AVPacket *pkt, lpo_error *err) {
    for (;;) {
        int r = av_read_frame(d->fmt, pkt);
        if (r == AVERROR_EOF) {
            if (d->fmt->pb->error < 0)
                return lpo_fail(err, LPO_EIO, "%s: %s", d->path, lpo_demux_reason(d->fmt->pb->error));
            return LPO_EEND;
        }
        if (r < 0)
            return lpo_fail(err, LPO_EFORMAT, "%s: damaged near byte %lld: %s", d->path,
                            (long long)avio_tell(d->fmt->pb), lpo_demux_reason(r));
        if (pkt->stream_index == d->stream->index && pkt->size > 0) return LPO_OK;
        av_packet_unref(pkt);
    }
}

/* Does the packet show a frame? Not when an edit list cuts it, nor when VP8 marks it as reference only (bit 4
 * of the frame tag). VP9 and AV1 bundle their hidden frames with a shown one. */
static int shows_frame(const lpo_demux *d, const AVPacket *pkt) {
    if (pkt->flags & AV_PKT_FLAG_DISCARD) return 0;
    if (d->stream->codecpar->codec_id == AV_CODEC_ID_VP8) return (pkt->data[0] & 0x10) != 0;
    return 1;
}

static int by_time(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static int by_frame(const void *a, const void *b) {
    int64_t x = ((const lpo_demux_key *)a)->frame, y = ((const lpo_demux_key *)b)->frame;
    return x < y ? -1 : x > y;
}

int64_t lpo_demux_frame_at(const lpo_demux *d, int64_t pts) {
    if (!d->pts || pts == AV_NOPTS_VALUE) return -1;
    const int64_t *p = bsearch(&pts, d->pts, (size_t)d->n_frames, sizeof *d->pts, by_time);
    return p ? p - d->pts : -1;
}

/* Room for item n of *items, doubling. */
static int grow(void **items, int64_t n, int64_t *cap, size_t size) {
    if (n < *cap) return 1;
    int64_t want = *cap ? *cap * 2 : 256;
    void *p = realloc(*items, (size_t)want * size);
    if (!p) return 0;
    *items = p;
    *cap = want;
    return 1;
}

/* Sort the times; with a time missing or double there is no table, and reading is by counting from the start.
 */
static void finish_table(lpo_demux *d, int complete) {
    qsort(d->pts, (size_t)d->n_frames, sizeof *d->pts, by_time);
    for (int64_t i = 1; complete && i < d->n_frames; i++) complete = d->pts[i - 1] != d->pts[i];
    if (!complete) {
        free(d->pts), free(d->keys);
        d->pts = NULL, d->keys = NULL, d->n_keys = 0;
        return;
    }
    for (int64_t k = 0; k < d->n_keys; k++) d->keys[k].frame = lpo_demux_frame_at(d, d->keys[k].pts);
    if (d->n_keys) qsort(d->keys, (size_t)d->n_keys, sizeof *d->keys, by_frame);
}

/* Read every packet once. Frames before the first key frame cannot be decoded and do not count. */
static lpo_status scan(lpo_demux *d, lpo_error *err) {
    int64_t cap = 0, key_cap = 0;
    int complete = 1, seen_key = 0;
    lpo_status s = LPO_OK;
    AVPacket *pkt = av_packet_alloc();
    while (pkt && !(s = lpo_demux_packet(d, pkt, err))) {
        int key = pkt->flags & AV_PKT_FLAG_KEY;
        if (key && !seen_key) d->n_frames = 0, complete = 1, seen_key = 1;
        if (shows_frame(d, pkt)) {
            if (d->n_frames >= d->limits.max_frames) {
                s = lpo_fail(err, LPO_ELIMIT,
                             "%s: more than %lld frames, the limit; cut the video or raise the limit",
                             d->path, (long long)d->limits.max_frames);
                break;
            }
            if (!grow((void **)&d->pts, d->n_frames, &cap, sizeof *d->pts) ||
                !grow((void **)&d->keys, d->n_keys, &key_cap, sizeof *d->keys)) {
                s = lpo_fail(err, LPO_ENOMEM, "%s: out of memory", d->path);
                break;
            }
            d->pts[d->n_frames++] = pkt->pts;
            complete &= pkt->pts != AV_NOPTS_VALUE;
            int64_t dts = pkt->dts != AV_NOPTS_VALUE && pkt->dts < pkt->pts ? pkt->dts : pkt->pts;
            if (key) d->keys[d->n_keys++] = (lpo_demux_key){0, pkt->pts, dts};
        }
        av_packet_unref(pkt);
    }
    if (!pkt) s = lpo_fail(err, LPO_ENOMEM, "%s: out of memory", d->path);
    av_packet_free(&pkt);
    if (s != LPO_EEND) return s;
    if (!d->n_frames) return lpo_fail(err, LPO_EFORMAT, "%s: the video stream has no frames", d->path);
    finish_table(d, complete);
    return LPO_OK;
}

/* A header that promises more than the file holds: a download that stopped. Only the MOV family writes its
 * index before or apart from the data; there the last sample's end is known. */
static lpo_status check_complete(const lpo_demux *d, lpo_error *err) {
    int n = avformat_index_get_entries_count(d->stream);
    int64_t end = 0, size = avio_size(d->fmt->pb);
    if (strncmp(d->fmt->iformat->name, "mov", 3)) return LPO_OK;
    for (int i = 0; i < n; i++) {
        const AVIndexEntry *e = avformat_index_get_entry(d->stream, i);
        if (e->pos + e->size > end) end = e->pos + e->size;
    }
    if (size < 0 || end <= size) return LPO_OK;
    return lpo_fail(
        err, LPO_EFORMAT,
        "%s: cut short: the index names video data up to byte %lld, the file has %lld; fetch it again",
        d->path, (long long)end, (long long)size);
}

static lpo_status check_regular(const char *path, lpo_error *err) {
    struct stat st;
    if (stat(path, &st) < 0)
        return lpo_fail(err, errno == ENOENT || errno == ENOTDIR ? LPO_ENOTFOUND : LPO_EIO, "%s: %s", path,
                        strerror(errno));
    if (!S_ISREG(st.st_mode))
        return lpo_fail(err, LPO_EINVAL, "%s: not a regular file; name a video file", path);
    if (st.st_size == 0)
        return lpo_fail(err, LPO_EFORMAT, "%s: the file is empty; check how it was made or downloaded", path);
    return LPO_OK;
}

lpo_status lpo_demux_open(lpo_demux *d, const char *path, const lpo_video_limits *limits, lpo_error *err) {
    lpo_demux_quiet();
    d->limits = limits ? *limits : lpo_video_limits_default();
    lpo_status s = check_regular(path, err);
    if (s) return s;
    if (!(d->path = strdup(path))) return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", path);
    s = open_input(d, err);
    if (!s && d->fmt->duration != AV_NOPTS_VALUE &&
        (double)d->fmt->duration / AV_TIME_BASE > d->limits.max_duration_s)
        s = lpo_fail(err, LPO_ELIMIT,
                     "%s: %.0f s long, over the limit of %.0f s; cut the video or raise the limit", path,
                     (double)d->fmt->duration / AV_TIME_BASE, d->limits.max_duration_s);
    if (!s) s = check_complete(d, err);
    if (!s) s = scan(d, err);
    if (!s) s = lpo_demux_rewind(d, err);
    if (s) lpo_demux_close(d);
    return s;
}

void lpo_demux_close(lpo_demux *d) {
    close_input(d);
    free(d->path), free(d->pts), free(d->keys);
    memset(d, 0, sizeof *d);
}

lpo_status lpo_demux_seek(lpo_demux *d, int64_t k, AVPacket *pkt, lpo_error *err) {
    const lpo_demux_key *key = &d->keys[k];
    if (av_seek_frame(d->fmt, d->stream->index, key->seek_ts, AVSEEK_FLAG_BACKWARD) < 0) return LPO_EEND;
    for (;;) {
        lpo_status s = lpo_demux_packet(d, pkt, err);
        if (s) return s;
        if ((pkt->flags & AV_PKT_FLAG_KEY) && pkt->pts == key->pts) return LPO_OK;
        int past = pkt->dts != AV_NOPTS_VALUE && pkt->dts > key->pts;
        av_packet_unref(pkt);
        if (past) return LPO_EEND;
    }
}
