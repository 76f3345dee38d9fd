/* SPDX-License-Identifier: Apache-2.0 */
/* sample.c -- which frames a family looks at.
 * Two samplers exist in the wild and both are needed to see what a checkpoint saw: qwen-vl-utils (the models'
 * own package; rounded linspace) and transformers' video processor (truncated arange). Their counts differ as
 * well: the first rounds the bounds to even numbers before clamping, the second clamps first and rounds at
 * the end. floor2(x) = 2*floor(x/2): frames go through the tower in pairs. LLaVA's samplers are numpy's
 * linspace and arange in double, and a plain stride. */
#include "leanpo/media.h"

#include <math.h>

lpo_sample_options lpo_sample_options_default(void) {
    lpo_sample_options o = {.fps = 2.0, .n_frames = 0, .min_frames = 4, .max_frames = 768, .hf_sampler = 0};
    return o;
}

static double floor2(double x) {
    return 2.0 * floor(x / 2.0);
}

static double count_qwen(int64_t total, double fps_src, const lpo_sample_options *o) {
    double max = floor2(fmin(o->max_frames, (double)total)), min = 2.0 * ceil(o->min_frames / 2.0);
    return floor2(fmin(fmin(fmax((double)total / fps_src * o->fps, min), max), (double)total));
}

static double count_hf(int64_t total, double fps_src, const lpo_sample_options *o) {
    double max = floor2(fmin(o->max_frames, (double)total));
    return floor2(fmin(fmin(fmax((double)total / fps_src * o->fps, o->min_frames), max), (double)total));
}

/* torch.linspace(0, total-1, n) in float32, rounded half to even. torch walks up from the start in the first
 * half and down from the end in the second, there with a fused multiply-add (how its x86 builds are
 * compiled). n is even, so no exact value is a half; in videos beyond some 5,000 frames the float32 error
 * alone decides a few indices. */
static void linspace_rounded(int64_t *indices, int n, int64_t total) {
    float end = (float)(total - 1), step = end / (float)(n - 1);
    for (int i = 0; i < n; i++) {
        float x = i < n / 2 ? step * (float)i : fmaf(-step, (float)(n - 1 - i), end);
        int64_t k = (int64_t)rintf(x);
        indices[i] = k < total ? k : total - 1;
    }
}

/* torch.arange(0, total, total/n).int(): products in double, stored as float32, truncated. torch fills whole
 * blocks of 16 as two vectors of 8, each from a base already rounded to float32, which moves an index by one
 * here and there in videos of tens of thousands of frames. */
static void arange_truncated(int64_t *indices, int n, int64_t total) {
    double step = (double)total / n;
    for (int i = 0; i < n; i++) {
        int in_vector = i < n / 16 * 16, lane = in_vector ? i % 8 : 0;
        double base = in_vector ? (double)(float)(step * (i - lane)) : step * i;
        int64_t k = (int64_t)(float)(base + step * lane);
        indices[i] = k < total ? k : total - 1;
    }
}

lpo_status lpo_sample_qwen(int64_t *indices, int *n, int64_t total, double fps_src,
                           const lpo_sample_options *o, lpo_error *err) {
    *n = 0;
    if (total < 2)
        return lpo_fail(err, LPO_EINVAL, "a video of %lld frame(s) cannot be sampled; two are needed",
                        (long long)total);
    if (o->min_frames < 1 || o->max_frames < 2 || o->min_frames > o->max_frames || o->n_frames < 0)
        return lpo_fail(err, LPO_EINVAL,
                        "frame bounds %d..%d (count %d): give 1 <= min <= max, max at least 2", o->min_frames,
                        o->max_frames, o->n_frames);
    double count;
    if (o->n_frames > 0) {
        count = 2.0 * rint(o->n_frames / 2.0);
    } else {
        if (!(fps_src > 0) || !(o->fps > 0) || isinf(fps_src) || isinf(o->fps))
            return lpo_fail(err, LPO_EINVAL, "frame rates %g (video) and %g (wanted) must be positive",
                            fps_src, o->fps);
        count = o->hf_sampler ? count_hf(total, fps_src, o) : count_qwen(total, fps_src, o);
    }
    if (count < 2 || count > (double)total)
        return lpo_fail(err, LPO_EINVAL, "%.0f frames are wanted of a video that has %lld; ask for 2 to %lld",
                        count, (long long)total, (long long)(total / 2 * 2));
    *n = (int)count;
    if (o->hf_sampler)
        arange_truncated(indices, *n, total);
    else
        linspace_rounded(indices, *n, total);
    return LPO_OK;
}

/* numpy.linspace(0, total-1, n, dtype=int): products in double, floored, the end exact. */
static void linspace_floored(int64_t *indices, int n, int64_t total) {
    const double step = n > 1 ? (double)(total - 1) / (n - 1) : 0;
    for (int i = 0; i < n; i++) indices[i] = (int64_t)floor(i * step);
    if (n > 1) indices[n - 1] = total - 1;
}

lpo_status lpo_sample_uniform(int64_t *indices, int *n, int64_t total, double fps_src,
                              const lpo_sample_options *o, lpo_error *err) {
    *n = 0;
    if (total < 1) return lpo_fail(err, LPO_EINVAL, "a video without frames cannot be sampled");
    if (o->n_frames < 0 || o->max_frames < 1)
        return lpo_fail(err, LPO_EINVAL, "%d frames, at most %d: give at least 1", o->n_frames,
                        o->max_frames);
    if (o->n_frames > 0) {
        *n = o->n_frames;
        if (!o->hf_sampler)
            linspace_floored(indices, *n, total);
        else
            for (int i = 0; i < *n; i++) indices[i] = (int64_t)(i * ((double)total / *n));
        return LPO_OK;
    }
    if (!(fps_src > 0) || !(o->fps > 0) || isinf(fps_src) || isinf(o->fps))
        return lpo_fail(err, LPO_EINVAL, "frame rates %g (video) and %g (wanted) must be positive", fps_src,
                        o->fps);
    const double stride = fmax(1, rint(fps_src / o->fps));
    const double count = ceil((double)total / stride);
    if (count > o->max_frames) {
        *n = o->max_frames;
        linspace_floored(indices, *n, total);
    } else {
        *n = (int)count;
        for (int i = 0; i < *n; i++) indices[i] = i * (int64_t)stride;
    }
    return LPO_OK;
}
