/* SPDX-License-Identifier: Apache-2.0 */
/* roofline.c -- see roofline.h. Through the driver, so that any device is measured by what the model uses.
 * The best of the runs that fit the time counts: whatever else the machine does only makes one slower. */
#include "profile/roofline.h"

#include "base/clock.h"
#include "device/driver.h"

#include <string.h>

enum { M = 512, N = 1024, K = 1024, LONG = 1 << 23 /* floats; three of them are over any cache */ };
static const double LIMIT_S = .25;

/* Seconds of the fastest run of a step. */
static lpo_status best(double *seconds, lpo_device *d, const lpo_step *step, lpo_error *err) {
    const lpo_driver *v = lpo_device_driver(d);
    *seconds = 0;
    const double begin_s = lpo_now_s();
    for (int i = 0; i < 2 || lpo_now_s() - begin_s < LIMIT_S; i++) {
        const double t = lpo_now_s();
        lpo_status s = v->submit(d, step, err);
        if (!s) s = v->wait(d, err);
        if (s) return s;
        const double took_s = lpo_now_s() - t;
        if (i && (*seconds <= 0 || took_s < *seconds)) *seconds = took_s; /* the first one warms up */
    }
    return LPO_OK;
}

static lpo_dtensor matrix(lpo_buffer *b, size_t offset_bytes, int32_t dtype, int64_t rows, int64_t columns) {
    return (lpo_dtensor){b, offset_bytes, dtype, columns ? 2 : 1, {rows, columns ? columns : 1}};
}

static lpo_status product(double *flops_s, lpo_device *d, lpo_buffer *b, int32_t dtype, lpo_error *err) {
    const size_t size = 4u * N * K; /* the largest of the three, at four bytes */
    lpo_step s = {.op = LPO_OP_LINEAR};
    double seconds;
    s.arg[0] = matrix(b, 0, dtype, M, N);
    s.arg[1] = matrix(b, size, dtype, M, K);
    s.arg[2] = matrix(b, 2 * size, dtype, N, K);
    if (!lpo_device_driver(d)->supports(d, &s)) return LPO_OK;
    lpo_status st = best(&seconds, d, &s, err);
    if (!st && seconds > 0) *flops_s = 2.0 * M * N * K / seconds;
    return st;
}

static lpo_status add(double *bytes_s, lpo_device *d, lpo_buffer *b, lpo_error *err) {
    lpo_step s = {.op = LPO_OP_ADD};
    double seconds;
    for (int k = 0; k < 3; k++) s.arg[k] = matrix(b, (size_t)k * LONG * 4, LPO_F32, LONG, 0);
    if (!lpo_device_driver(d)->supports(d, &s)) return LPO_OK;
    lpo_status st = best(&seconds, d, &s, err);
    if (!st && seconds > 0) *bytes_s = 3.0 * 4 * LONG / seconds;
    return st;
}

/* Zeros everywhere: numbers without meaning may be denormal, and slow. */
static lpo_status clear(lpo_device *d, lpo_buffer *b, size_t size_bytes, lpo_error *err) {
    lpo_step s = {.op = LPO_OP_FILL};
    s.arg[0] = matrix(b, 0, LPO_F32, (int64_t)(size_bytes / 4), 0);
    lpo_status st = lpo_device_driver(d)->submit(d, &s, err);
    return st ? st : lpo_device_driver(d)->wait(d, err);
}

lpo_status lpo_roofline_measure(lpo_roofline *out, const char *device, lpo_error *err) {
    lpo_device *d;
    lpo_buffer *b = NULL;
    const size_t size = 3u * LONG * 4u;
    *out = (lpo_roofline){0};
    lpo_status s = lpo_device_open(&d, device, err);
    if (s) return s;
    s = lpo_device_driver(d)->alloc(&b, d, size, err);
    if (!s) s = clear(d, b, size, err);
    if (!s) s = product(&out->flops_s, d, b, LPO_F32, err);
    if (!s) s = product(&out->bf16_flops_s, d, b, LPO_BF16, err);
    if (!s) s = add(&out->bytes_s, d, b, err);
    lpo_device_driver(d)->release(b);
    lpo_device_close(d);
    return s;
}
