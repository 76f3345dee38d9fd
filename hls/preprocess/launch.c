/* SPDX-License-Identifier: Apache-2.0 */
/* launch.c -- see launch.h. */
#include "hls/preprocess/launch.h"
#include "kernels/number.h"

static int window_too_long(const lpo_prep_taps *t) {
    return t->n_out && t->stride > HLS_MAX_TAPS;
}

const char *lpo_hls_preprocess_refuses(const lpo_prep_frame_args *a, int32_t patch) {
    if (a->crop_w > HLS_MAX_IN || a->crop_h > HLS_MAX_IN) return "the crop is over 4096 pixels on a side";
    if (a->out_w > HLS_MAX_OUT || a->out_h > HLS_MAX_OUT) return "the result is over 2048 pixels on a side";
    if (window_too_long(&a->horz) || window_too_long(&a->vert)) return "the scale is below 1/13";
    if (window_too_long(&a->blur_horz) || window_too_long(&a->blur_vert)) return "the blur is over 9 pixels";
    if (a->blur_horz.n_out * a->blur_horz.stride > HLS_MAX_WEIGHTS)
        return "the blur's weights are over 65536";
    if (a->horz.n_out * a->horz.stride > HLS_MAX_WEIGHTS) return "the weights are over 65536";
    if (patch > HLS_MAX_PATCH) return "the patch is over 32 pixels on a side";
    for (int p = 0; p < 3; p++)
        if (a->src.plane[p] && (a->src.pitch_bytes[p] < 0 || a->src.pitch_bytes[p] % HLS_WORD))
            return "a row pitch is not a positive multiple of 64 bytes";
    return NULL;
}

int32_t lpo_hls_preprocess_max_steps(const lpo_prep_frame_args *a) {
    return (a->crop_h + a->out_h + a->out_h) / HLS_LANES + 3 + 2 * a->out_h;
}

/* Of rows [from, n_out), how many of the next 8 have their whole window within the first `have` rows. */
static int32_t ready(const lpo_prep_taps *t, int32_t from, int32_t have) {
    int32_t n = 0;
    while (n < HLS_LANES && from + n < t->n_out && t->start[from + n] + t->count[from + n] <= have) n++;
    return n;
}

int32_t lpo_hls_preprocess_schedule(int32_t *schedule, const lpo_prep_frame_args *a) {
    int32_t src = 0, mid = 0, out = 0, steps = 0;
    int blur = a->blur_vert.n_out != 0;
    while (out < a->out_h) {
        int32_t *s = schedule + 8 * steps++;
        /* Take rows in only when nothing complete is waiting: the rings then never hold more than a window
         * and a band. */
        int waiting = ready(&a->vert, mid, src) || (blur && ready(&a->blur_vert, out, mid));
        int32_t n_src = a->crop_h - src < HLS_LANES ? a->crop_h - src : HLS_LANES;
        if (waiting) n_src = 0;
        s[0] = src, s[1] = n_src;
        src += n_src;
        int32_t n_mid = blur && ready(&a->blur_vert, out, mid) ? 0 : ready(&a->vert, mid, src);
        s[2] = mid, s[3] = n_mid;
        mid += n_mid;
        int32_t n_out = blur ? ready(&a->blur_vert, out, mid) : n_mid;
        s[4] = out, s[5] = n_out;
        out += n_out;
        s[6] = s[7] = 0;
    }
    return steps;
}

void lpo_hls_preprocess_levels(uint32_t *levels, const lpo_patchify_args *p, int32_t patch_type) {
    for (int32_t c = 0; c < 3; c++) {
        float shift = 255.f * p->mean[c], scale = 255.f * p->std[c];
        for (int32_t x = 0; x < 256; x++) {
            union {
                float f;
                uint32_t bits;
            } v;
            v.f = ((float)x - shift) / scale;
            levels[256 * c + x] = patch_type == HLS_PATCH_BF16 ? lpo_f32_to_bf16(v.f) : v.bits;
        }
    }
}

static void fill_patches(lpo_hls_preprocess_args *out, const lpo_patchify_args *p, int32_t patch_type,
                         int32_t frame) {
    out->patch_type = patch_type;
    out->patch = p->patch;
    out->merge = p->merge;
    out->temporal = p->temporal;
    out->grid_t = frame / p->temporal;
    out->slot = frame % p->temporal;
    out->n_slots = frame == p->n_frames - 1 ? p->temporal - out->slot : 1;
}

void lpo_hls_preprocess_fill(lpo_hls_preprocess_args *out, const lpo_prep_frame_args *a,
                             const lpo_patchify_args *p, int32_t patch_type, int32_t frame) {
    out->plane0 = a->src.plane[0];
    out->plane1 = a->src.plane[1];
    out->plane2 = a->src.plane[2];
    out->horz_taps = a->horz.start;
    out->vert_taps = a->vert.start;
    out->blur_horz_taps = a->blur_horz.n_out ? a->blur_horz.start : NULL;
    out->blur_vert_taps = a->blur_horz.n_out ? a->blur_vert.start : NULL;
    out->pixfmt = a->src.pixfmt;
    out->matrix = a->src.matrix;
    out->full_range = a->src.full_range != 0;
    out->width = a->src.width;
    out->height = a->src.height;
    out->pitch0 = a->src.pitch_bytes[0];
    out->pitch1 = a->src.pitch_bytes[1];
    out->pitch2 = a->src.pitch_bytes[2];
    out->crop_x = a->crop_x;
    out->crop_y = a->crop_y;
    out->crop_w = a->crop_w;
    out->crop_h = a->crop_h;
    out->out_w = a->out_w;
    out->out_h = a->out_h;
    out->mode = a->mode;
    out->horz_stride = a->horz.stride;
    out->vert_stride = a->vert.stride;
    out->blur_horz_stride = a->blur_horz.n_out ? a->blur_horz.stride : 0;
    out->blur_vert_stride = a->blur_horz.n_out ? a->blur_vert.stride : 0;
    out->grey = a->grey != 0;
    out->hflip = a->hflip != 0;
    out->noise_scale = a->noise_scale;
    out->noise_key0 = a->noise_key[0];
    out->noise_key1 = a->noise_key[1];
    out->patch_type = HLS_PATCH_NONE;
    out->patch = out->merge = out->temporal = 1;
    out->grid_t = out->slot = 0;
    out->n_slots = 1;
    if (p && patch_type != HLS_PATCH_NONE) fill_patches(out, p, patch_type, frame);
}
