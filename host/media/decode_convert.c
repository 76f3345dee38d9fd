/* SPDX-License-Identifier: Apache-2.0 */
/* decode_convert.c -- decoded frames as 8-bit planes, with a rounding that is written down.
 * The five common layouts pass through untouched. The rest:
 *   depth b > 8, limited range   (v + 2^(b-9)) >> (b-8), at most 255: the code points 16 and 235 keep their
 * meaning full range and RGB           round(v * 255 / (2^b - 1)), halves up: black and white map to 0 and
 * 255 packed or semi-planar YUV    planes of the same chroma layout; alpha is dropped 4:1:1, 4:1:0, 4:4:0
 * 4:4:4, each chroma sample repeated grey                         4:2:0 with chroma 128; untagged grey is
 * full range, as FFmpeg has it packed, deep or palette RGB  RGB24 No dithering: the same frame gives the same
 * bytes wherever it is decoded. */
#include "media/decode.h"

#include <libavutil/mem.h>
#include <libavutil/pixdesc.h>
#include <string.h>

void lpo_convert_free(lpo_convert *c) {
    av_freep(&c->samples);
    av_freep(&c->row);
    c->samples_cap = c->row_cap = 0;
}

static void build_lut(lpo_convert *c, int depth, int full) {
    if (c->lut_depth == depth && c->lut_full == full) return;
    uint32_t max = (1u << depth) - 1;
    for (uint32_t v = 0; v <= max; v++) {
        uint32_t x = v;
        if (full)
            x = (v * 255 + max / 2) / max;
        else if (depth > 8)
            x = (v + (1u << (depth - 9))) >> (depth - 8);
        c->lut[v] = (uint8_t)(x > 255 ? 255 : x);
    }
    c->lut_depth = depth;
    c->lut_full = full;
}

static lpo_status set_colour(lpo_frame *out, const AVFrame *in, const AVPixFmtDescriptor *desc,
                             const char *where, lpo_error *err) {
    int rgb = (desc->flags & (AV_PIX_FMT_FLAG_RGB | AV_PIX_FMT_FLAG_PAL)) != 0,
        grey = !rgb && desc->nb_components < 3;
    out->matrix = LPO_MATRIX_BT601;
    out->full_range = rgb || in->color_range == AVCOL_RANGE_JPEG || strncmp(desc->name, "yuvj", 4) == 0 ||
                      (grey && in->color_range != AVCOL_RANGE_MPEG);
    if (rgb || grey) return LPO_OK;
    switch (in->colorspace) {
    case AVCOL_SPC_BT709:
    case AVCOL_SPC_SMPTE240M: /* coefficients within .011 of BT.709's: early HDTV, no matrix of its own here
                               */
        out->matrix = LPO_MATRIX_BT709;
        return LPO_OK;
    case AVCOL_SPC_BT2020_NCL:
    case AVCOL_SPC_BT2020_CL: out->matrix = LPO_MATRIX_BT2020; return LPO_OK;
    case AVCOL_SPC_RGB:
    case AVCOL_SPC_UNSPECIFIED:
    case AVCOL_SPC_RESERVED:
    case AVCOL_SPC_FCC:
    case AVCOL_SPC_BT470BG:
    case AVCOL_SPC_SMPTE170M: return LPO_OK;
    default:
        return lpo_fail(
            err, LPO_EUNSUPPORTED,
            "%s: colour matrix %s is not converted here; re-encode with -vf colorspace=bt709", where,
            av_color_space_name(in->colorspace) ? av_color_space_name(in->colorspace) : "unknown");
    }
}

static int passes(lpo_pixfmt *out, int format) {
    switch (format) {
    case AV_PIX_FMT_YUV420P:
    case AV_PIX_FMT_YUVJ420P: *out = LPO_PIX_YUV420P; return 1;
    case AV_PIX_FMT_YUV422P:
    case AV_PIX_FMT_YUVJ422P: *out = LPO_PIX_YUV422P; return 1;
    case AV_PIX_FMT_YUV444P:
    case AV_PIX_FMT_YUVJ444P: *out = LPO_PIX_YUV444P; return 1;
    case AV_PIX_FMT_NV12: *out = LPO_PIX_NV12; return 1;
    case AV_PIX_FMT_RGB24: *out = LPO_PIX_RGB24; return 1;
    case AV_PIX_FMT_GBRP: *out = LPO_PIX_GBRP; return 1;
    default: return 0;
    }
}

/* Room for the planes and one row; sizes were checked against the limits before the frame was decoded. */
static int reserve(lpo_convert *c, size_t samples, size_t row) {
    if (samples > c->samples_cap) {
        av_freep(&c->samples);
        c->samples_cap = 0;
        if (!(c->samples = av_malloc(samples))) return 0;
        c->samples_cap = samples;
    }
    if (row > c->row_cap) {
        av_freep(&c->row);
        c->row_cap = 0;
        if (!(c->row = av_malloc(row * sizeof *c->row))) return 0;
        c->row_cap = row;
    }
    return 1;
}

/* Row y of component k as samples of up to 16 bits: in place when it is stored so, else unpacked. */
static const uint16_t *source_row(lpo_convert *c, const AVFrame *in, const AVPixFmtDescriptor *desc, int k,
                                  int y, int w) {
    const AVComponentDescriptor *d = &desc->comp[k];
    const uint8_t *row = in->data[d->plane] + (ptrdiff_t)y * in->linesize[d->plane];
    int native = !(desc->flags & AV_PIX_FMT_FLAG_BE) && ((uintptr_t)row & 1) == 0;
    if (native && d->step == 2 && d->depth > 8 && !d->offset && !d->shift)
        return (const uint16_t *)(const void *)row;
    av_read_image_line2(c->row, (const uint8_t **)(uintptr_t)in->data, in->linesize, desc, 0, y, k, w, 0, 2);
    return c->row;
}

static void convert_palette(lpo_convert *c, const AVFrame *in, uint8_t *dst) {
    const uint32_t *pal = (const uint32_t *)(const void *)in->data[1];
    (void)c;
    for (int y = 0; y < in->height; y++)
        for (int x = 0; x < in->width; x++, dst += 3) {
            uint32_t argb = pal[in->data[0][(ptrdiff_t)y * in->linesize[0] + x]];
            dst[0] = (uint8_t)(argb >> 16), dst[1] = (uint8_t)(argb >> 8), dst[2] = (uint8_t)argb;
        }
}

static lpo_status convert_rgb(lpo_frame *out, const AVFrame *in, const AVPixFmtDescriptor *desc,
                              lpo_convert *c) {
    size_t w = (size_t)in->width, h = (size_t)in->height;
    if (!reserve(c, w * h * 3, w)) return LPO_ENOMEM;
    out->pixfmt = LPO_PIX_RGB24;
    out->plane[0] = c->samples;
    out->pitch_bytes[0] = in->width * 3;
    if (desc->flags & AV_PIX_FMT_FLAG_PAL) {
        convert_palette(c, in, c->samples);
        return LPO_OK;
    }
    for (int k = 0; k < 3; k++) {
        build_lut(c, desc->comp[k].depth, 1);
        for (int y = 0; y < in->height; y++) {
            const uint16_t *src = source_row(c, in, desc, k, y, in->width);
            uint8_t *dst = c->samples + (size_t)y * w * 3 + k;
            for (size_t x = 0; x < w; x++) dst[3 * x] = c->lut[src[x]];
        }
    }
    return LPO_OK;
}

static lpo_status convert_yuv(lpo_frame *out, const AVFrame *in, const AVPixFmtDescriptor *desc,
                              lpo_convert *c) {
    int grey = desc->nb_components < 3, sw = desc->log2_chroma_w, sh = desc->log2_chroma_h;
    int kept = grey || (sw == 1 && sh == 1) || (sw == 1 && sh == 0) || (sw == 0 && sh == 0);
    int dw = grey ? 1 : kept ? sw : 0, dh = grey ? 1 : kept ? sh : 0; /* chroma shifts of the result */
    size_t w = (size_t)in->width, h = (size_t)in->height;
    size_t cw = (w + ((size_t)1 << dw) - 1) >> dw, ch = (h + ((size_t)1 << dh) - 1) >> dh;
    if (!reserve(c, w * h + 2 * cw * ch, w)) return LPO_ENOMEM;
    out->pixfmt = dw == 0 ? LPO_PIX_YUV444P : dh == 0 ? LPO_PIX_YUV422P : LPO_PIX_YUV420P;
    uint8_t *dst = c->samples;
    for (int k = 0; k < 3; k++) {
        size_t kw = k ? cw : w, kh = k ? ch : h;
        out->plane[k] = dst;
        out->pitch_bytes[k] = (int)kw;
        if (grey && k) {
            memset(dst, 128, kw * kh);
            dst += kw * kh;
            continue;
        }
        int rx = k ? sw - dw : 0, ry = k ? sh - dh : 0; /* repeats, as shifts */
        if (grey) rx = ry = 0;
        build_lut(c, desc->comp[k].depth, out->full_range);
        for (size_t y = 0; y < kh; y++, dst += kw) {
            const uint16_t *src =
                source_row(c, in, desc, k, (int)(y >> ry), (int)((kw + ((size_t)1 << rx) - 1) >> rx));
            for (size_t x = 0; x < kw; x++) dst[x] = c->lut[src[x >> rx]];
        }
    }
    return LPO_OK;
}

lpo_status lpo_convert_frame(lpo_frame *out, const AVFrame *in, lpo_convert *c, const char *where,
                             lpo_error *err) {
    const AVPixFmtDescriptor *desc = av_pix_fmt_desc_get(in->format);
    memset(out, 0, sizeof *out);
    if (!desc) return lpo_fail(err, LPO_EUNSUPPORTED, "%s: the decoder names no pixel format", where);
    out->width = in->width;
    out->height = in->height;
    lpo_status s = set_colour(out, in, desc, where, err);
    if (s) return s;
    if (passes(&out->pixfmt, in->format)) {
        int planes = out->pixfmt == LPO_PIX_RGB24 ? 1 : out->pixfmt == LPO_PIX_NV12 ? 2 : 3;
        for (int k = 0; k < planes; k++) out->plane[k] = in->data[k], out->pitch_bytes[k] = in->linesize[k];
        return LPO_OK;
    }
    const int strange =
        AV_PIX_FMT_FLAG_FLOAT | AV_PIX_FMT_FLAG_HWACCEL | AV_PIX_FMT_FLAG_BITSTREAM | AV_PIX_FMT_FLAG_BAYER;
    if ((desc->flags & strange) || desc->comp[0].depth > 16 || strncmp(desc->name, "xyz", 3) == 0)
        return lpo_fail(err, LPO_EUNSUPPORTED,
                        "%s: pixel format %s is not converted here; re-encode with -pix_fmt yuv420p", where,
                        desc->name);
    int rgb = (desc->flags & (AV_PIX_FMT_FLAG_RGB | AV_PIX_FMT_FLAG_PAL)) != 0;
    s = rgb ? convert_rgb(out, in, desc, c) : convert_yuv(out, in, desc, c);
    if (s) return lpo_fail(err, s, "%s: out of memory for a %dx%d frame", where, in->width, in->height);
    return LPO_OK;
}
