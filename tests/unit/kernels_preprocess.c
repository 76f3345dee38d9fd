/* SPDX-License-Identifier: Apache-2.0 */
/* kernels_preprocess.c -- the exact arithmetic: equal to Pillow and torchvision, the same on every
 * instruction set, and colours, chroma positions, patch order and noise as documented. Buffers have their
 * exact size, so that under AddressSanitizer a vector that runs over one is caught. */
#include "kernels/preprocess.h"
#include "kernels/preprocess_pixel.h"

#include <criterion/criterion.h>
#include <criterion/logging.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int levels[] = {LPO_PREP_PORTABLE, LPO_PREP_AVX2, LPO_PREP_AVX512};
static const char *const level_names[] = {"portable", "AVX2", "AVX-512"};

static uint32_t state = 1;
static uint32_t draw(uint32_t n) {
    state = state * 1664525u + 1013904223u;
    return (state >> 8) % n;
}

static void *memory(size_t bytes) {
    void *p = aligned_alloc(64, (bytes + 63) & ~(size_t)63);
    cr_assert(p != NULL);
    return p;
}

/* Everything one call needs; the tables are owned. */
typedef struct job {
    lpo_prep_frame_args a;
    void *tables[4];
    uint8_t *planes[3];
} job;

static void make_tables(job *j, double blur_sigma) {
    lpo_prep_frame_args *a = &j->a;
    j->tables[0] = memory(lpo_prep_taps_bytes(a->crop_w, a->out_w));
    j->tables[1] = memory(lpo_prep_taps_bytes(a->crop_h, a->out_h));
    if (a->mode == LPO_PREP_PILLOW) {
        lpo_prep_taps_pillow(&a->horz, j->tables[0], a->crop_w, a->out_w);
        lpo_prep_taps_pillow(&a->vert, j->tables[1], a->crop_h, a->out_h);
    } else {
        lpo_prep_taps_torchvision(&a->horz, j->tables[0], a->crop_w, a->out_w);
        lpo_prep_taps_torchvision(&a->vert, j->tables[1], a->crop_h, a->out_h);
    }
    if (blur_sigma > 0) {
        j->tables[2] = memory(lpo_prep_taps_blur_bytes(a->out_w, blur_sigma));
        j->tables[3] = memory(lpo_prep_taps_blur_bytes(a->out_h, blur_sigma));
        lpo_prep_taps_blur(&a->blur_horz, j->tables[2], a->out_w, blur_sigma);
        lpo_prep_taps_blur(&a->blur_vert, j->tables[3], a->out_h, blur_sigma);
    }
}

/* Planes of exactly the bytes a frame has: the last row ends with its last sample. */
static void make_planes(job *j, int padding) {
    lpo_prep_frame *f = &j->a.src;
    for (int k = 0; k < 3; k++) {
        int half_w = (f->width + 1) / 2, half_h = (f->height + 1) / 2, row = f->width, rows = f->height;
        int n_planes = f->pixfmt == LPO_PREP_RGB24 ? 1 : f->pixfmt == LPO_PREP_NV12 ? 2 : 3;
        if (k >= n_planes) break;
        if (f->pixfmt == LPO_PREP_RGB24) row = 3 * f->width;
        if (k && f->pixfmt == LPO_PREP_NV12) row = 2 * half_w, rows = half_h;
        if (k && f->pixfmt == LPO_PREP_YUV420P) row = half_w, rows = half_h;
        if (k && f->pixfmt == LPO_PREP_YUV422P) row = half_w;
        f->pitch_bytes[k] = row + padding;
        size_t bytes = (size_t)(row + padding) * (rows - 1) + row;
        j->planes[k] = malloc(bytes);
        for (size_t i = 0; i < bytes; i++) j->planes[k][i] = (uint8_t)draw(256);
        f->plane[k] = j->planes[k];
    }
}

static void free_job(job *j) {
    for (int k = 0; k < 4; k++) free(j->tables[k]);
    for (int k = 0; k < 3; k++) free(j->planes[k]);
}

/* level < 0: the reference. The result is malloc'd at its exact size; NULL when the processor lacks the
 * level. */
static uint8_t *run(const job *j, int level) {
    if (level >= 0 && lpo_cpu_preprocess_level(level) != level) return NULL;
    uint8_t *out = malloc((size_t)j->a.out_w * j->a.out_h * 3);
    void *work = memory(level < 0 ? lpo_prep_workspace_bytes(&j->a) : lpo_cpu_preprocess_bytes(&j->a));
    (level < 0 ? lpo_ref_preprocess_frame : lpo_cpu_preprocess_frame)(out, &j->a, work);
    free(work);
    return out;
}

static uint64_t fnv1a(const uint8_t *p, size_t n) {
    uint64_t h = 0xcbf29ce484222325u;
    while (n--) h = (h ^ *p++) * 0x100000001b3u;
    return h;
}

/* Truth: the resize has the very bytes of Pillow's Image.resize(BICUBIC) and of torchvision's antialiased
 * tensor resize, on every instruction set (tests/golden/preprocess_pillow.py made the sums and compares far
 * more sizes). */
Test(preprocess, equals_pillow_and_torchvision) {
    FILE *f = fopen(TESTS_DIR "/golden/preprocess_resize.txt", "r");
    cr_assert(f, "tests/golden/preprocess_resize.txt is missing");
    char line[200];
    int n_checked = 0;
    while (fgets(line, sizeof line, f)) {
        int w, h, ow, oh;
        unsigned long long want[2];
        if (sscanf(line, "%d %d %d %d %llx %llx", &w, &h, &ow, &oh, &want[0], &want[1]) != 6) continue;
        for (int mode = LPO_PREP_PILLOW; mode <= LPO_PREP_TORCHVISION; mode++) {
            job j = {.a = {.src = {LPO_PREP_RGB24, 0, 1, w, h, {0}, {0}}, .mode = mode}};
            j.a.crop_w = w, j.a.crop_h = h, j.a.out_w = ow, j.a.out_h = oh;
            make_planes(&j, 0);
            for (uint32_t k = 0; k < (uint32_t)(w * h * 3); k++) {
                uint32_t x = (k + 1) * 2654435761u;
                j.planes[0][k] = (uint8_t)((x ^ x >> 15) * 2246822519u >> 24);
            }
            make_tables(&j, 0);
            for (int level = -1; level < 3; level++) {
                uint8_t *out = run(&j, level);
                if (out)
                    cr_assert_eq(fnv1a(out, (size_t)ow * oh * 3), want[mode], "%dx%d to %dx%d, %s, %s", w, h,
                                 ow, oh, mode ? "torchvision" : "pillow",
                                 level < 0 ? "reference" : level_names[level]);
                n_checked += out != NULL;
                free(out);
            }
            free_job(&j);
        }
    }
    fclose(f);
    cr_assert_geq(n_checked, 24 * 2 * 2);
}

/* Truth: portable, AVX2 and AVX-512 give the reference's bytes for every pixel format, matrix, range, crop,
 * mode and augmentation, at sizes that leave every kind of vector tail. */
Test(preprocess, every_instruction_set_equals_the_reference) {
    int seen[3] = {0};
    for (int trial = 0; trial < 240; trial++) {
        job j = {0};
        lpo_prep_frame_args *a = &j.a;
        a->src.pixfmt = trial % 6;
        a->src.matrix = (int)draw(3), a->src.full_range = (int)draw(2);
        a->src.width = 1 + (int)draw(trial % 2 ? 20 : 150), a->src.height = 1 + (int)draw(trial % 3 ? 90 : 9);
        a->crop_w = 1 + (int)draw((uint32_t)a->src.width), a->crop_h = 1 + (int)draw((uint32_t)a->src.height);
        a->crop_x = (int)draw((uint32_t)(a->src.width - a->crop_w + 1));
        a->crop_y = (int)draw((uint32_t)(a->src.height - a->crop_h + 1));
        a->out_w = 1 + (int)draw(120), a->out_h = 1 + (int)draw(60);
        a->mode = (int)draw(2);
        a->grey = draw(4) == 0, a->hflip = draw(2) == 0;
        a->noise_scale = draw(3) == 0 ? lpo_prep_noise_scale(20) : 0;
        a->noise_key[0] = 7, a->noise_key[1] = (uint32_t)trial;
        make_planes(&j, (int)draw(2) * (int)draw(40));
        make_tables(&j, draw(3) == 0 ? 0.4 + 0.1 * draw(40) : 0);
        uint8_t *want = run(&j, -1);
        for (int k = 0; k < 3; k++) {
            uint8_t *got = run(&j, levels[k]);
            if (!got) continue;
            seen[k]++;
            cr_assert_arr_eq(got, want, (size_t)a->out_w * a->out_h * 3,
                             "trial %d, %s: format %d mode %d %dx%d crop %d,%d %dx%d to %dx%d", trial,
                             level_names[k], a->src.pixfmt, a->mode, a->src.width, a->src.height, a->crop_x,
                             a->crop_y, a->crop_w, a->crop_h, a->out_w, a->out_h);
            free(got);
        }
        free(want);
        free_job(&j);
    }
    for (int k = 0; k < 3; k++)
        if (!seen[k]) cr_log_warn("skipped: this processor has no %s", level_names[k]);
    lpo_cpu_preprocess_level(LPO_PREP_AUTO);
}

/* One flat colour through the same-size path. */
static void convert(uint8_t rgb[3], int matrix, int full, int y, int u, int v) {
    uint8_t planes[3][16];
    memset(planes[0], y, 16), memset(planes[1], u, 16), memset(planes[2], v, 16);
    job j = {
        .a = {.src = {LPO_PREP_YUV444P, matrix, full, 4, 4, {planes[0], planes[1], planes[2]}, {4, 4, 4}}}};
    j.a.crop_w = j.a.crop_h = j.a.out_w = j.a.out_h = 4;
    make_tables(&j, 0);
    uint8_t *out = run(&j, -1);
    memcpy(rgb, out, 3);
    free(out);
    free_job(&j);
}

/* Truth: the matrices are the standards': black, white and the 75%..100% primaries' code points come out as
 * the real formula says, to the rounding of one unit. */
Test(preprocess, colour_follows_the_standards) {
    static const double kr[3] = {.299, .2126, .2627}, kb[3] = {.114, .0722, .0593};
    for (int matrix = 0; matrix < 3; matrix++)
        for (int full = 0; full < 2; full++)
            for (int trial = 0; trial < 200; trial++) {
                int y = (int)draw(256), u = (int)draw(256), v = (int)draw(256);
                double luma = full ? y / 255. : (y - 16) / 219.;
                double pb = (u - 128) / (full ? 255. : 224.), pr = (v - 128) / (full ? 255. : 224.);
                double r = luma + 2 * (1 - kr[matrix]) * pr, b = luma + 2 * (1 - kb[matrix]) * pb;
                double g = (luma - kr[matrix] * r - kb[matrix] * b) / (1 - kr[matrix] - kb[matrix]);
                double want[3] = {r * 255, g * 255, b * 255};
                uint8_t rgb[3];
                convert(rgb, matrix, full, y, u, v);
                for (int c = 0; c < 3; c++) {
                    double w = fmin(255, fmax(0, want[c]));
                    /* half a unit of rounding, and 13-bit coefficients times at most 255+127+127 */
                    cr_assert_lt(fabs(rgb[c] - w), 0.5 + 0.04,
                                 "matrix %d full %d (%d,%d,%d) channel %d: %d for %f", matrix, full, y, u, v,
                                 c, rgb[c], w);
                }
            }
    uint8_t rgb[3];
    convert(rgb, LPO_PREP_BT601, 0, 235, 128, 128);
    cr_assert_arr_eq(rgb, ((uint8_t[]){255, 255, 255}), 3);
    convert(rgb, LPO_PREP_BT709, 0, 16, 128, 128);
    cr_assert_arr_eq(rgb, ((uint8_t[]){0, 0, 0}), 3);
}

/* Truth: the coefficients are the standards' numbers rounded to 13 bits, not something near them. */
Test(preprocess, coefficients_are_the_rounded_ones) {
    static const double kr[3] = {.299, .2126, .2627}, kb[3] = {.114, .0722, .0593};
    for (int matrix = 0; matrix < 3; matrix++)
        for (int full = 0; full < 2; full++) {
            const lpo_yuv_coef *k = &lpo_yuv_coefs[matrix][full];
            double kg = 1 - kr[matrix] - kb[matrix], s = full ? 8192 : 8192 * 255. / 224;
            double crv = 2 * (1 - kr[matrix]) * s, cbu = 2 * (1 - kb[matrix]) * s;
            cr_assert_eq(k->cy, lrint(full ? 8192 : 8192 * 255. / 219));
            cr_assert(k->crv == lrint(crv) && k->cbu == lrint(cbu), "matrix %d full %d", matrix, full);
            cr_assert(k->cgv == lrint(-crv * kr[matrix] / kg) && k->cgu == lrint(-cbu * kb[matrix] / kg));
            cr_assert_eq(k->black, full ? 0 : 16);
        }
}

/* Truth: 4:2:0 chroma sits on even columns and between rows: one sample weighs 3/4, 1/4 down the rows and 1,
 * 1/2 across the columns. Red moves by 1.596 * 72 * weight. */
Test(preprocess, chroma_sits_where_h264_puts_it) {
    uint8_t luma[12 * 12], u[36], v[36];
    memset(luma, 100, sizeof luma), memset(u, 128, sizeof u), memset(v, 128, sizeof v);
    v[2 * 6 + 3] = 200; /* chroma column 3, row 2: pixel column 6, between rows 4 and 5 */
    job j = {.a = {.src = {LPO_PREP_YUV420P, LPO_PREP_BT601, 0, 12, 12, {luma, u, v}, {12, 6, 6}}}};
    j.a.crop_w = j.a.crop_h = j.a.out_w = j.a.out_h = 12;
    make_tables(&j, 0);
    uint8_t *out = run(&j, -1);
    int base = out[0];
    static const double down[12] = {0, 0, 0, .25, .75, .75, .25, 0, 0, 0, 0, 0};
    static const double across[12] = {0, 0, 0, 0, 0, .5, 1, .5, 0, 0, 0, 0};
    for (int y = 0; y < 12; y++)
        for (int x = 0; x < 12; x++)
            cr_assert_lt(fabs(out[(y * 12 + x) * 3] - base - 1.596 * 72 * down[y] * across[x]), 1.01,
                         "(%d,%d)", x, y);
    free(out);
    free_job(&j);
}

/* Truth: resizing never changes a flat picture, in either mode, up or down: the weights of every window sum
 * to one. */
Test(preprocess, a_flat_picture_stays_flat) {
    for (int mode = 0; mode < 2; mode++)
        for (int value = 0; value < 256; value += 51)
            for (int ow = 1; ow < 90; ow += 8) {
                uint8_t in[37 * 23 * 3];
                memset(in, value, sizeof in);
                job j = {.a = {.src = {LPO_PREP_RGB24, 0, 1, 37, 23, {in}, {37 * 3}}, .mode = mode}};
                j.a.crop_w = 37, j.a.crop_h = 23, j.a.out_w = ow, j.a.out_h = 91 - ow;
                make_tables(&j, 2.0);
                uint8_t *out = run(&j, LPO_PREP_PORTABLE);
                for (int i = 0; i < ow * (91 - ow) * 3; i++)
                    cr_assert_eq(out[i], value, "mode %d width %d", mode, ow);
                free(out);
                free_job(&j);
            }
}

/* Truth: noise has the deviation asked for, no mean, and no correlation between neighbours or between keys.
 */
Test(preprocess, noise_is_noise) {
    enum { W = 128, H = 128, N = W * H * 3 };
    uint8_t *in = malloc(N), *out[2];
    memset(in, 128, N);
    for (int k = 0; k < 2; k++) {
        job j = {.a = {.src = {LPO_PREP_RGB24, 0, 1, W, H, {in}, {W * 3}}}};
        j.a.crop_w = j.a.out_w = W, j.a.crop_h = j.a.out_h = H;
        j.a.noise_scale = lpo_prep_noise_scale(12), j.a.noise_key[0] = (uint32_t)k;
        make_tables(&j, 0);
        out[k] = run(&j, LPO_PREP_PORTABLE);
        free_job(&j);
    }
    double sum = 0, squares = 0, neighbours = 0, keys = 0;
    for (int i = 0; i < N; i++) {
        double x = out[0][i] - 128., y = out[1][i] - 128.;
        sum += x, squares += x * x, keys += x * y;
        if (i) neighbours += x * (out[0][i - 1] - 128.);
    }
    /* Five standard errors of each estimate at N = 49152; rounding to integers adds 1/12 to the variance. */
    cr_assert_lt(fabs(sum / N), 5 * 12 / sqrt(N));
    cr_assert_lt(fabs(squares / N - (144 + 1. / 12)), 5 * 144 * sqrt(2. / N));
    cr_assert_lt(fabs(neighbours / squares), 5 / sqrt(N));
    cr_assert_lt(fabs(keys / squares), 5 / sqrt(N));
    free(in), free(out[0]), free(out[1]);
}

/* Truth: patch rows run (t, h/2, w/2, 2, 2) and columns (channel, frame, y, x); an odd clip repeats its last
 * frame; the table version equals the reference in every bit. */
Test(preprocess, patches_are_in_qwen_order) {
    enum { P = 3, M = 2, T = 2, H = 12, W = 18, FRAMES = 3, COLS = 3 * T * P * P };
    lpo_patchify_args a = {FRAMES, H, W, P, T, M, {.5f, .4f, .3f}, {.2f, .25f, .3f}};
    uint8_t rgb[FRAMES * H * W * 3];
    for (size_t i = 0; i < sizeof rgb; i++) rgb[i] = (uint8_t)draw(256);
    int rows = 2 * (H / P) * (W / P);
    float *ref = malloc(sizeof(float) * rows * COLS), *cpu = malloc(sizeof(float) * rows * COLS);
    lpo_ref_patchify(ref, rgb, &a);
    lpo_cpu_patchify(cpu, rgb, &a);
    cr_assert_arr_eq(ref, cpu, sizeof(float) * rows * COLS);
    for (int t = 0; t < 2; t++)
        for (int gy = 0; gy < H / P; gy++)
            for (int gx = 0; gx < W / P; gx++)
                for (int c = 0; c < 3; c++)
                    for (int tp = 0; tp < T; tp++)
                        for (int y = 0; y < P; y++)
                            for (int x = 0; x < P; x++) {
                                int row = ((t * (H / P / M) + gy / M) * (W / P / M) + gx / M) * M * M +
                                          gy % M * M + gx % M;
                                int col = ((c * T + tp) * P + y) * P + x,
                                    f = t * T + tp < FRAMES ? t * T + tp : 2;
                                int px = rgb[((f * H + gy * P + y) * W + gx * P + x) * 3 + c];
                                float want = ((float)px - 255.f * a.mean[c]) / (255.f * a.std[c]);
                                cr_assert_eq(ref[row * COLS + col], want, "t %d patch %d,%d", t, gx, gy);
                            }
    free(ref), free(cpu);
}
