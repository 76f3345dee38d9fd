/* SPDX-License-Identifier: Apache-2.0 */
/* prep_augment.c -- A(V) in words and in numbers: the spec string, and every choice that follows from its
 * seed. Each kind of choice draws from a stream of its own, so adding "flip" to a spec does not move the
 * crop. */
#include "base/rng.h"
#include "media/prep_view.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STREAM_CROP = 1, STREAM_DROP, STREAM_SHUFFLE };

static lpo_status bad(lpo_error *err, const char *item) {
    return lpo_fail(err, LPO_EINVAL,
                    "augment: bad item '%s' (use crop=LO..HI in (0,1], flip, grey, blur=0..16, noise=0..128, "
                    "drop=[0,1), shuffle, reverse, seed=N, joined by commas)",
                    item);
}

/* The whole of text is a number in [lo, hi]. */
static int number(double *out, const char *text, double lo, double hi) {
    char *end;
    *out = strtod(text, &end);
    return end != text && !*end && *out >= lo && *out <= hi;
}

/* "LO..HI" or one number. strtod stops at a second dot, so ".5..8" and ".5...8" both give .5 first. */
static int range(double *lo, double *hi, const char *text) {
    char *end, decimals[64];
    *lo = *hi = strtod(text, &end);
    if (end == text) return 0;
    if (end - text > 1 && end[-1] == '.' && end[0] == '.')
        end--; /* "1..": the dot belongs to the separator */
    if (*end) {
        if (strncmp(end, "..", 2) != 0 || !end[2]) return 0;
        char *last;
        *hi = strtod(end + 2, &last);
        if (*last) return 0;
        if (*hi > 1.0) { /* "..8": .8, as nothing above 1 is a fraction of the area */
            snprintf(decimals, sizeof decimals, ".%s", end + 2);
            if (!number(hi, decimals, 0, 1)) return 0;
        }
    }
    return *lo > 0 && *lo <= *hi && *hi <= 1;
}

static int parse_item(lpo_augment *a, const char *item) {
    if (!strncmp(item, "crop=", 5)) return range(&a->crop_min, &a->crop_max, item + 5);
    if (!strncmp(item, "blur=", 5)) return number(&a->blur_sigma, item + 5, 0, 16);
    if (!strncmp(item, "noise=", 6)) return number(&a->noise_sigma, item + 6, 0, 128);
    if (!strncmp(item, "drop=", 5)) return number(&a->drop, item + 5, 0, 1) && a->drop < 1;
    if (!strcmp(item, "flip")) return a->hflip = 1;
    if (!strcmp(item, "grey") || !strcmp(item, "gray")) return a->grey = 1;
    if (!strcmp(item, "shuffle")) return a->shuffle = 1;
    if (!strcmp(item, "reverse")) return a->reverse = 1;
    if (!strncmp(item, "seed=", 5)) {
        char *end;
        a->seed = strtoull(item + 5, &end, 10);
        return item[5] >= '0' && item[5] <= '9' && !*end;
    }
    return 0;
}

lpo_status lpo_augment_parse(lpo_augment *out, const char *spec, lpo_error *err) {
    char copy[512];
    memset(out, 0, sizeof *out);
    if (!strcmp(spec, "none")) return LPO_OK;
    if (strlen(spec) >= sizeof copy)
        return lpo_fail(err, LPO_EINVAL, "augment: over %zu characters", sizeof copy - 1);
    strcpy(copy, spec);
    for (char *item = copy, *next; item; item = next) {
        next = strchr(item, ',');
        if (next) *next++ = 0;
        if (!*copy && !next) break; /* "" */
        if (!parse_item(out, item)) {
            memset(out, 0, sizeof *out);
            return bad(err, item);
        }
    }
    return LPO_OK;
}

/* Append to out like snprintf, given what is already used. */
#define LPO_PUT(...)                                                                                         \
    used += snprintf(used < (int)size_bytes ? out + used : NULL,                                             \
                     used < (int)size_bytes ? size_bytes - (size_t)used : 0, __VA_ARGS__)

/* Fewest digits that read back as x, from three on so that 40 is not 4e+01. */
static const char *shortest(char text[32], double x) {
    for (int digits = 3; digits <= 17; digits++) {
        snprintf(text, 32, "%.*g", digits, x);
        if (strtod(text, NULL) == x) break;
    }
    return text;
}

int lpo_augment_format(char *out, size_t size_bytes, const lpo_augment *a) {
    int used = 0;
    char lo[32], hi[32];
    if (size_bytes) out[0] = 0;
    if (a->crop_max > 0) LPO_PUT(",crop=%s..%s", shortest(lo, a->crop_min), shortest(hi, a->crop_max));
    if (a->hflip) LPO_PUT(",flip");
    if (a->grey) LPO_PUT(",grey");
    if (a->blur_sigma > 0) LPO_PUT(",blur=%s", shortest(lo, a->blur_sigma));
    if (a->noise_sigma > 0) LPO_PUT(",noise=%s", shortest(lo, a->noise_sigma));
    if (a->drop > 0) LPO_PUT(",drop=%s", shortest(lo, a->drop));
    if (a->shuffle) LPO_PUT(",shuffle");
    if (a->reverse) LPO_PUT(",reverse");
    if (a->seed) LPO_PUT(",seed=%llu", (unsigned long long)a->seed);
    if (!used) {
        LPO_PUT("none");
        return used;
    }
    if (size_bytes) memmove(out, out + 1, strlen(out)); /* the leading comma */
    return used - 1;
}
#undef LPO_PUT

void lpo_augment_crop(int *x, int *y, int *w, int *h, const lpo_augment *aug, int width, int height) {
    *x = *y = 0;
    *w = width, *h = height;
    if (!(aug->crop_max > 0)) return;
    lpo_rng r = lpo_rng_init(aug->seed, STREAM_CROP);
    double area = aug->crop_min + (aug->crop_max - aug->crop_min) * lpo_rng_uniform(&r), side = sqrt(area);
    int cw = (int)rint(width * side), ch = (int)rint(height * side);
    *w = cw < 1 ? 1 : cw > width ? width : cw;
    *h = ch < 1 ? 1 : ch > height ? height : ch;
    *x = (int)lpo_rng_below(&r, (uint32_t)(width - *w + 1));
    *y = (int)lpo_rng_below(&r, (uint32_t)(height - *h + 1));
}

/* Exactly n_lost of n frames, each set equally likely: frame k is lost with the odds of those still to lose.
 */
static void drop_frames(uint32_t *map, int n, int n_lost, uint64_t seed) {
    lpo_rng r = lpo_rng_init(seed, STREAM_DROP);
    uint32_t left = (uint32_t)n_lost, shown = UINT32_MAX, leading = 0;
    for (uint32_t k = 0; k < (uint32_t)n; k++) {
        if (lpo_rng_below(&r, (uint32_t)n - k) < left) {
            left--;
            leading += shown == UINT32_MAX;
        } else {
            shown = k;
        }
        map[k] = shown;
    }
    for (uint32_t k = 0; k < leading; k++) map[k] = leading; /* nothing before: the first kept frame */
}

void lpo_augment_frames(uint32_t *map, int n, const lpo_augment *aug) {
    int n_lost = (int)lrint(aug->drop * n);
    for (int j = 0; j < n; j++) map[j] = (uint32_t)j;
    if (n_lost > 0) drop_frames(map, n, n_lost < n ? n_lost : n - 1, aug->seed);
    if (aug->shuffle) {
        lpo_rng r = lpo_rng_init(aug->seed, STREAM_SHUFFLE);
        lpo_rng_shuffle(&r, map, (uint32_t)n);
    }
    for (int l = 0, r = n - 1; aug->reverse && l < r; l++, r--) {
        uint32_t keep = map[l];
        map[l] = map[r];
        map[r] = keep;
    }
}
