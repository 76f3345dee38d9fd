/* SPDX-License-Identifier: Apache-2.0 */
/* png.c -- pictures for pages and people. */
#include "leanpo/media.h"

#include <libavcodec/avcodec.h>
#include <libavutil/imgutils.h>
#include <stdlib.h>
#include <string.h>

lpo_status lpo_png_encode(uint8_t **png, size_t *size_bytes, const uint8_t *rgb, int width, int height,
                          lpo_error *err) {
    *png = NULL;
    *size_bytes = 0;
    if (width < 1 || height < 1 || width > 16384 || height > 16384)
        return lpo_fail(err, LPO_EINVAL, "a picture of %dx%d: sides go from 1 to 16384", width, height);
    const AVCodec *codec = avcodec_find_encoder(AV_CODEC_ID_PNG);
    if (!codec) return lpo_fail(err, LPO_EUNSUPPORTED, "this FFmpeg has no PNG encoder");
    AVCodecContext *c = avcodec_alloc_context3(codec);
    AVFrame *f = av_frame_alloc();
    AVPacket *p = av_packet_alloc();
    lpo_status s = c && f && p ? LPO_OK : lpo_fail(err, LPO_ENOMEM, "out of memory for a picture");
    if (!s) {
        c->width = f->width = width;
        c->height = f->height = height;
        c->pix_fmt = AV_PIX_FMT_RGB24;
        f->format = AV_PIX_FMT_RGB24;
        c->time_base = (AVRational){1, 1};
        c->thread_count = 1;
    }
    if (!s && (avcodec_open2(c, codec, NULL) < 0 || av_frame_get_buffer(f, 0) < 0))
        s = lpo_fail(err, LPO_ENOMEM, "the PNG encoder does not open for %dx%d", width, height);
    if (!s) {
        for (int y = 0; y < height; y++)
            memcpy(f->data[0] + (ptrdiff_t)y * f->linesize[0], rgb + (size_t)y * (size_t)width * 3,
                   (size_t)width * 3);
        if (avcodec_send_frame(c, f) < 0 || avcodec_send_frame(c, NULL) < 0 ||
            avcodec_receive_packet(c, p) < 0)
            s = lpo_fail(err, LPO_EIO, "the PNG encoder fails on %dx%d", width, height);
    }
    if (!s && !(*png = malloc((size_t)p->size))) s = lpo_fail(err, LPO_ENOMEM, "out of memory for a picture");
    if (!s) {
        memcpy(*png, p->data, (size_t)p->size);
        *size_bytes = (size_t)p->size;
    }
    av_packet_free(&p);
    av_frame_free(&f);
    avcodec_free_context(&c);
    return s;
}
