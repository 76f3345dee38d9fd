/* SPDX-License-Identifier: Apache-2.0 */
/* preprocess.c -- one decoded frame to resized RGB and to its places in the clip's patches, as hardware.
 *
 * A DATAFLOW region repeats for every step of the schedule (launch.h) and moves bands of 8 rows:
 *   read x3 -> colour -> horizontal -> vertical -> blur horizontal -> blur vertical -> finish -> rgb
 *                                      (ring)                         (ring)                 +-> patches
 * The horizontal pass makes one column of 8 rows, 8 taps, 3 channels a clock: 192 multiply-adds whatever the
 * scale, all 8 rows sharing the weights, which stay on chip; with 4 taps it would be slower than the source
 * at 1080p to 448 (18 taps a window). The vertical pass makes 8
 * columns of one row, 4 taps a clock. Only the two rings and the patch lines outlive a step. The arithmetic
 * is that of kernels/preprocess_pixel.h, shared with every other version. */
#include "kernels/preprocess_pixel.h"

#include "hls/abi.h"
#include "hls/exact.h"
#include "hls/preprocess/limits.h"
#include "hls/timing.h"

enum {
    PLANE_BYTES = 3 * HLS_MAX_IN + 2 * HLS_WORD,
    AXI_LATENCY = 70,
    MAC_DEPTH = 12,
    TAPS = 8, /* of a horizontal window in a clock: two groups of 4 */
    /* A float sum waits for its previous addition: 4 products and additions in a row. */
    REAL_II = 24
};
enum { READ0, READ1, READ2, COLOUR, HORZ, VERT, BLUR_HORZ, BLUR_VERT, FINISH, WRITE_RGB, PATCHES, N_STAGES };

/* The scalars most stages need. */
typedef struct setup {
    int32_t pixfmt, matrix, full_range, width, height;
    int32_t crop_x, crop_y, crop_w, crop_h, out_w, out_h;
} setup;

/* One step of the schedule. */
typedef struct step {
    int32_t src, n_src, mid, n_mid, out, n_out;
} step;

/* The rectangle of a plane that a band needs; byte is a multiple of the memory word. */
typedef struct span {
    int32_t row, n_rows, byte, n_bytes;
} span;

typedef uint8_t band[HLS_LANES][HLS_MAX_IN][3];
typedef uint32_t columns[HLS_MAX_OUT][HLS_LANES][3]; /* bytes, or the bits of float sums */
typedef uint32_t ring[HLS_RING][HLS_MAX_OUT][3];

static int is_tall(int32_t pixfmt) {
    return pixfmt == LPO_PREP_YUV420P || pixfmt == LPO_PREP_NV12;
}
static int is_wide(int32_t pixfmt) {
    return is_tall(pixfmt) || pixfmt == LPO_PREP_YUV422P;
}
static int is_chroma(int32_t pixfmt, int32_t plane) {
    return plane > 0 && pixfmt != LPO_PREP_GBRP;
}

static span plane_span(setup f, int32_t plane, step s) {
    span p;
    int32_t first = f.crop_x, end = f.crop_x + f.crop_w, size = 1;
    p.row = f.crop_y + s.src;
    p.n_rows = s.n_src;
    if (is_chroma(f.pixfmt, plane) && is_tall(f.pixfmt) && s.n_src > 0) {
        int32_t rows = (f.height + 1) / 2, last = (p.row + s.n_src - 1) / 2 + 1;
        p.row = p.row / 2 > 0 ? p.row / 2 - 1 : 0;
        p.n_rows = (last < rows ? last : rows - 1) - p.row + 1;
    }
    if (is_chroma(f.pixfmt, plane) && is_wide(f.pixfmt)) {
        int32_t cols = (f.width + 1) / 2;
        first = first / 2;
        end = (end - 1) / 2 + 2 < cols ? (end - 1) / 2 + 2 : cols;
    }
    if (f.pixfmt == LPO_PREP_RGB24) size = 3;
    if (f.pixfmt == LPO_PREP_NV12 && plane == 1) size = 2;
    if ((f.pixfmt == LPO_PREP_RGB24 && plane > 0) || (f.pixfmt == LPO_PREP_NV12 && plane == 2)) p.n_rows = 0;
    p.byte = first * size / HLS_WORD * HLS_WORD;
    p.n_bytes = (end * size - p.byte + HLS_WORD - 1) / HLS_WORD * HLS_WORD;
    return p;
}

static void read_plane(uint8_t buf[HLS_LANES][PLANE_BYTES], const uint8_t *plane, int32_t pitch, setup f,
                       int32_t which, step s) {
    HLS_STAGE(READ0 + which);
    span p = plane_span(f, which, s);
    for (int32_t r = 0; r < p.n_rows; r++) {
#pragma HLS LOOP_TRIPCOUNT max = 8
        size_t at = (size_t)(p.row + r) * (size_t)pitch + (size_t)p.byte;
        for (int32_t i = 0; i < p.n_bytes; i++) {
#pragma HLS LOOP_TRIPCOUNT max = 12416
#pragma HLS PIPELINE II = 1
            buf[r][i] = plane[at + (size_t)i];
        }
        HLS_LOOP(p.n_bytes / HLS_WORD, 1, AXI_LATENCY);
        HLS_BURST(p.n_bytes);
    }
}

/* Chroma at pixel (x,y) minus 128, scaled by 8: bilinear, as preprocess_pixel.h says. */
static int32_t chroma8(uint8_t buf[HLS_LANES][PLANE_BYTES], setup f, span p, int32_t x, int32_t y,
                       int32_t size, int32_t offset) {
#pragma HLS INLINE
    int tall = is_tall(f.pixfmt), wide = is_wide(f.pixfmt);
    int32_t rows = tall ? (f.height + 1) / 2 : f.height, cols = wide ? (f.width + 1) / 2 : f.width;
    int32_t near = tall ? y / 2 : y, far = near;
    if (tall) far = (y & 1) ? near + 1 : near - 1;
    if (far < 0) far = 0;
    if (far >= rows) far = rows - 1;
    int32_t left = wide ? x / 2 : x, right = wide && (x & 1) ? left + 1 : left;
    if (right >= cols) right = cols - 1;
    int32_t l = left * size + offset - p.byte, r = right * size + offset - p.byte;
    near -= p.row;
    far -= p.row;
    return 3 * buf[near][l] + buf[far][l] + 3 * buf[near][r] + buf[far][r] - 8 * 128;
}

/* Three plane bands -> one RGB band; rows past the end of the crop are black and never read as taps. */
static void colour(band out, uint8_t p0[HLS_LANES][PLANE_BYTES], uint8_t p1[HLS_LANES][PLANE_BYTES],
                   uint8_t p2[HLS_LANES][PLANE_BYTES], setup f, step s) {
    HLS_STAGE(COLOUR);
    span s0 = plane_span(f, 0, s), s1 = plane_span(f, 1, s), s2 = plane_span(f, 2, s);
    int nv12 = f.pixfmt == LPO_PREP_NV12;
    lpo_yuv_coef k = lpo_yuv_coefs[f.matrix][f.full_range];
    int32_t n = s.n_src > 0 ? f.crop_w : 0;
    for (int32_t i = 0; i < n; i++) {
#pragma HLS LOOP_TRIPCOUNT max = 4096
#pragma HLS PIPELINE II = 1
        for (int32_t lane = 0; lane < HLS_LANES; lane++) {
#pragma HLS UNROLL
            int32_t x = f.crop_x + i, y = f.crop_y + s.src + lane;
            uint8_t rgb[3] = {0, 0, 0};
            if (lane < s.n_src && f.pixfmt == LPO_PREP_RGB24) {
                for (int32_t c = 0; c < 3; c++) rgb[c] = p0[lane][3 * x + c - s0.byte];
            } else if (lane < s.n_src && f.pixfmt == LPO_PREP_GBRP) {
                rgb[0] = p2[lane][x - s2.byte];
                rgb[1] = p0[lane][x - s0.byte];
                rgb[2] = p1[lane][x - s1.byte];
            } else if (lane < s.n_src) {
                int32_t u8 = chroma8(p1, f, s1, x, y, nv12 ? 2 : 1, 0);
                int32_t v8 = nv12 ? chroma8(p1, f, s1, x, y, 2, 1) : chroma8(p2, f, s2, x, y, 1, 0);
                lpo_yuv_pixel(rgb, 8 * (p0[lane][x - s0.byte] - k.black), u8, v8, &k);
            }
            for (int32_t c = 0; c < 3; c++) out[lane][i][c] = rgb[c];
        }
    }
    HLS_LOOP(n, 1, 14);
}

/* One tap of the torchvision mode: see lpo_tap_real. */
static float tap_real(float acc, float x, float w, int32_t k, int32_t count) {
#pragma HLS INLINE
    float product = x * w;
    if (k == 0) return product;
    return lpo_tap_is_fused(k, count) ? hls_fma(x, w, acc) : acc + product;
}

/* A tap group on one sample: 4 inputs, of which those before `count` take part. `acc` and `in` are bits of
 * floats when real (in: bytes when from_bytes), else integers. */
static uint32_t tap_group(uint32_t acc, const uint32_t in[4], const int32_t w[4], int32_t k0, int32_t count,
                          int real, int from_bytes) {
#pragma HLS INLINE
    for (int32_t k = 0; k < 4; k++) {
#pragma HLS UNROLL
        if (k0 + k >= count) continue;
        if (real) {
            float x = from_bytes ? (float)in[k] : hls_float(in[k]);
            acc = hls_bits(tap_real(hls_float(acc), x, hls_float((uint32_t)w[k]), k0 + k, count));
        } else {
            acc += in[k] * (uint32_t)w[k];
        }
    }
    return acc;
}

/* Integer sums are kept as unsigned (the same bits, and no overflow to worry a compiler). */
static uint8_t settle(uint32_t acc, int real) {
    return real ? lpo_round8(hls_float(acc)) : lpo_clip8((int32_t)acc >> 22);
}

/* In a table the weights follow both padded window lists. */
static int32_t weights_at(int32_t n) {
    return 2 * ((n + 15) / 16 * 16);
}

/* Horizontal pass of a band. One flat loop over all tap groups of all results (n_groups of them), since
 * nested loops of varying length would drain the pipeline at every result. stride 0: the band passes
 * unchanged. */
static void horizontal(columns out, band in, int32_t weights[HLS_MAX_WEIGHTS], int32_t start[HLS_MAX_OUT],
                       int32_t count[HLS_MAX_OUT], int32_t stride, int32_t n_groups, int32_t n_rows,
                       int real) {
    uint32_t acc[HLS_LANES][3];
#pragma HLS ARRAY_PARTITION variable = acc complete dim = 0
    int32_t i = 0, g = 0, n = n_rows > 0 ? n_groups : 0;
    for (int32_t t = 0; t < n; t++) {
#pragma HLS LOOP_TRIPCOUNT max = 14336
#pragma HLS PIPELINE II = 1
        int32_t w[TAPS / 4][4];
        int last = !stride || TAPS * g + TAPS >= count[i];
        for (int32_t k = 0; k < TAPS; k++)
            w[k / 4][k % 4] = TAPS * g + k < stride ? weights[i * stride + TAPS * g + k] : 0;
        for (int32_t lane = 0; lane < HLS_LANES; lane++) {
#pragma HLS UNROLL
            for (int32_t c = 0; c < 3; c++) {
                uint32_t sum = g == 0 ? 1u << 21 : acc[lane][c];
                for (int32_t h = 0; h < TAPS / 4; h++) {
                    uint32_t x[4] = {0, 0, 0, 0};
                    int32_t k0 = TAPS * g + 4 * h;
                    for (int32_t k = 0; k < 4; k++)
                        if (stride && k0 + k < count[i]) x[k] = in[lane][start[i] + k0 + k][c];
                    if (stride) sum = tap_group(sum, x, w[h], k0, count[i], real, 1);
                }
                acc[lane][c] = sum;
                if (!stride) out[i][lane][c] = in[lane][i][c];
                if (stride && last) out[i][lane][c] = real ? sum : settle(sum, 0);
            }
        }
        g = last ? 0 : g + 1;
        i += last;
    }
    HLS_LOOP(n, real ? TAPS / 4 * REAL_II : 1, MAC_DEPTH);
}

/* One result row, eight columns at a time, flat as above. w: the row's weights. */
static void vertical_row(uint8_t out[HLS_MAX_IN][3], ring rows, int32_t w[HLS_MAX_TAPS], int32_t start,
                         int32_t count, int32_t n_cols, int real) {
    uint32_t acc[8][3];
#pragma HLS ARRAY_PARTITION variable = acc complete dim = 0
    int32_t groups = (count + 3) / 4, x0 = 0, g = 0, n = (n_cols + 7) / 8 * groups;
    for (int32_t t = 0; t < n; t++) {
#pragma HLS LOOP_TRIPCOUNT max = 3584
#pragma HLS PIPELINE II = 1
        for (int32_t j = 0; j < 8; j++) {
#pragma HLS UNROLL
            for (int32_t c = 0; c < 3; c++) {
                uint32_t x[4] = {0, 0, 0, 0}, sum = g == 0 ? 1u << 21 : acc[j][c];
                for (int32_t k = 0; k < 4; k++)
                    if (4 * g + k < count && x0 + j < n_cols)
                        x[k] = rows[(start + 4 * g + k) % HLS_RING][x0 + j][c];
                sum = tap_group(sum, x, w + 4 * g, 4 * g, count, real, 0);
                acc[j][c] = sum;
                if (g == groups - 1 && x0 + j < n_cols) out[x0 + j][c] = settle(sum, real);
            }
        }
        x0 += g == groups - 1 ? 8 : 0;
        g = g == groups - 1 ? 0 : g + 1;
    }
    HLS_LOOP(n, real ? REAL_II : 1, MAC_DEPTH);
}

/* Vertical pass: n_in new rows from row `first_in` enter the ring, n_out results from row `first_out` leave.
 * stride 0: rows pass unchanged. */
static void vertical(band out, ring rows, columns in, const int32_t *table, int32_t start[HLS_MAX_OUT],
                     int32_t count[HLS_MAX_OUT], int32_t stride, int32_t n_rows, int32_t n_cols,
                     int32_t first_in, int32_t n_in, int32_t first_out, int32_t n_out, int real) {
    for (int32_t x = 0; x < n_cols && n_in > 0; x++) {
#pragma HLS LOOP_TRIPCOUNT max = 2048
#pragma HLS PIPELINE II = 1
        for (int32_t lane = 0; lane < HLS_LANES; lane++)
            for (int32_t c = 0; c < 3; c++) {
                if (stride && lane < n_in) rows[(first_in + lane) % HLS_RING][x][c] = in[x][lane][c];
                if (!stride && lane < n_in) out[lane][x][c] = (uint8_t)in[x][lane][c];
            }
    }
    HLS_LOOP(n_in > 0 ? n_cols : 0, 1, 4);
    for (int32_t r = 0; r < n_out && stride; r++) {
#pragma HLS LOOP_TRIPCOUNT max = 8
        int32_t w[HLS_MAX_TAPS];
#pragma HLS ARRAY_PARTITION variable = w cyclic factor = 4
        int32_t row = first_out + r;
        for (int32_t k = 0; k < stride; k++) {
#pragma HLS LOOP_TRIPCOUNT max = 56
#pragma HLS PIPELINE II = 1
            w[k] = table[weights_at(n_rows) + row * stride + k];
        }
        HLS_LOOP((stride + 15) / 16, 1, AXI_LATENCY);
        HLS_BURST(stride * 4);
        vertical_row(out[r], rows, w, start[row], count[row], n_cols, real);
    }
}

/* Grey, mirror, noise; the same rows to both consumers. */
static void finish(band to_rgb, band to_patches, band in, setup f, step s, int32_t grey, int32_t hflip,
                   int32_t noise_scale, uint32_t key0, uint32_t key1) {
    HLS_STAGE(FINISH);
    const uint32_t key[2] = {key0, key1};
    for (int32_t r = 0; r < s.n_out; r++) {
#pragma HLS LOOP_TRIPCOUNT max = 8
        for (int32_t x = 0; x < f.out_w; x++) {
#pragma HLS LOOP_TRIPCOUNT max = 2048
#pragma HLS PIPELINE II = 1
#pragma HLS UNROLL factor = 8
            const uint8_t *from = in[r][hflip ? f.out_w - 1 - x : x];
            uint8_t g = lpo_grey8(from);
            uint32_t index = ((uint32_t)(s.out + r) * (uint32_t)f.out_w + (uint32_t)x) * 3;
            for (int32_t c = 0; c < 3; c++) {
                uint8_t v = grey ? g : from[c];
                if (noise_scale) v = lpo_noise8(v, index + (uint32_t)c, key, noise_scale);
                to_rgb[r][x][c] = v;
                to_patches[r][x][c] = v;
            }
        }
        HLS_LOOP((f.out_w + 7) / 8, 1, 16);
    }
}

static void write_rgb(uint8_t *rgb, band in, setup f, step s, int32_t wanted) {
    HLS_STAGE(WRITE_RGB);
    size_t at = (size_t)s.out * (size_t)f.out_w * 3;
    int32_t n = wanted ? s.n_out : 0;
    for (int32_t r = 0; r < n; r++) {
#pragma HLS LOOP_TRIPCOUNT max = 8
        for (int32_t i = 0; i < 3 * f.out_w; i++) {
#pragma HLS LOOP_TRIPCOUNT max = 6144
#pragma HLS PIPELINE II = 1
            rgb[at + (size_t)r * (size_t)f.out_w * 3 + (size_t)i] = in[r][i / 3][i % 3];
        }
    }
    HLS_LOOP((n * 3 * f.out_w + HLS_WORD - 1) / HLS_WORD, 1, AXI_LATENCY);
    HLS_BURST(n * 3 * f.out_w);
}

/* Where patches go. */
typedef struct patch_place {
    int32_t type, patch, merge, temporal, grid_t, slot, n_slots;
} patch_place;

typedef uint8_t patch_lines[HLS_MAX_PATCH][HLS_MAX_OUT][3];

/* One line of patches is complete: each patch and channel is one run of patch*patch values a slot. */
static void write_patch_line(uint32_t *f32, uint16_t *bf16, patch_lines lines, uint32_t levels[3][256],
                             setup f, patch_place p, int32_t gy) {
    int32_t P = p.patch, M = p.merge, grid_w = f.out_w / P, grid_h = f.out_h / P;
    int64_t row_len = (int64_t)3 * p.temporal * P * P;
    for (int32_t gx = 0; gx < grid_w; gx++) {
#pragma HLS LOOP_TRIPCOUNT max = 2048
        int64_t block = ((int64_t)p.grid_t * (grid_h / M) + gy / M) * (grid_w / M) + gx / M;
        int64_t row = block * M * M + gy % M * M + gx % M;
        for (int32_t c = 0; c < 3; c++)
            for (int32_t tp = p.slot; tp < p.slot + p.n_slots; tp++) {
#pragma HLS LOOP_TRIPCOUNT max = 8
                int64_t at = row * row_len + (int64_t)(c * p.temporal + tp) * P * P;
                for (int32_t i = 0; i < P * P; i++) {
#pragma HLS LOOP_TRIPCOUNT max = 1024
#pragma HLS PIPELINE II = 1
                    uint32_t v = levels[c][lines[i / P][gx * P + i % P][c]];
                    if (p.type == HLS_PATCH_F32) f32[at + i] = v;
                    if (p.type == HLS_PATCH_BF16) bf16[at + i] = (uint16_t)v;
                }
            }
    }
    HLS_LOOP(grid_w * 3 * p.n_slots * ((P * P + 7) / 8 + 2), 1, AXI_LATENCY);
    HLS_BURST(grid_w * 3 * p.n_slots * P * P * (p.type == HLS_PATCH_F32 ? 4 : 2));
}

static void patches(uint32_t *f32, uint16_t *bf16, patch_lines lines, band in, uint32_t levels[3][256],
                    setup f, step s, patch_place p) {
    HLS_STAGE(PATCHES);
    int32_t n = p.type == HLS_PATCH_NONE ? 0 : s.n_out;
    for (int32_t r = 0; r < n; r++) {
#pragma HLS LOOP_TRIPCOUNT max = 8
        int32_t y = s.out + r, line = y % p.patch;
        for (int32_t x = 0; x < f.out_w; x++) {
#pragma HLS LOOP_TRIPCOUNT max = 2048
#pragma HLS PIPELINE II = 1
#pragma HLS UNROLL factor = 8
            for (int32_t c = 0; c < 3; c++) lines[line][x][c] = in[r][x][c];
        }
        HLS_LOOP((f.out_w + 7) / 8, 1, 4);
        if (line == p.patch - 1) write_patch_line(f32, bf16, lines, levels, f, p, y / p.patch);
    }
}

/* Windows of a pass, from its table: start | count, each padded to 16 words. */
static void load_windows(int32_t start[HLS_MAX_OUT], int32_t count[HLS_MAX_OUT], const int32_t *table,
                         int32_t n, int32_t stride) {
    int32_t padded = (n + 15) / 16 * 16;
    for (int32_t i = 0; i < n && stride; i++) {
#pragma HLS LOOP_TRIPCOUNT max = 2048
#pragma HLS PIPELINE II = 1
        start[i] = table[i];
    }
    for (int32_t i = 0; i < n && stride; i++) {
#pragma HLS LOOP_TRIPCOUNT max = 2048
#pragma HLS PIPELINE II = 1
        count[i] = table[padded + i];
    }
}

/* Weights of a horizontal pass, used again for every band. Returns the tap groups of one row of results. */
static int32_t load_weights(int32_t weights[HLS_MAX_WEIGHTS], const int32_t *table,
                            int32_t count[HLS_MAX_OUT], int32_t n, int32_t stride) {
    int32_t groups = 0;
    for (int32_t i = 0; i < n * stride; i++) {
#pragma HLS LOOP_TRIPCOUNT max = 65536
#pragma HLS PIPELINE II = 1
        weights[i] = table[weights_at(n) + i];
    }
    for (int32_t i = 0; i < n; i++) {
#pragma HLS LOOP_TRIPCOUNT max = 2048
#pragma HLS PIPELINE II = 1
        groups += stride ? (count[i] + TAPS - 1) / TAPS : 1;
    }
    HLS_LOOP((n * stride + 15) / 16, 1, AXI_LATENCY);
    HLS_LOOP(n, 1, 4);
    HLS_BURST((int64_t)n * stride * 4);
    return groups;
}

static void load_levels(uint32_t out[3][256], const uint32_t *levels, int32_t patch_type) {
    for (int32_t i = 0; i < 768 && patch_type != HLS_PATCH_NONE; i++) {
#pragma HLS LOOP_TRIPCOUNT max = 768
#pragma HLS PIPELINE II = 1
        out[i / 256][i % 256] = levels[i];
    }
}

/* The step, once for each stage: a channel has one reader. */
static void fetch_step(step to[N_STAGES], const int32_t *schedule, int32_t i) {
    const int32_t *e = schedule + 8 * i;
    step s = {e[0], e[1], e[2], e[3], e[4], e[5]};
    for (int32_t k = 0; k < N_STAGES; k++) {
#pragma HLS UNROLL
        to[k] = s;
    }
}

static void resize_horizontal(columns out, band in, int32_t weights[HLS_MAX_WEIGHTS],
                              int32_t start[HLS_MAX_OUT], int32_t count[HLS_MAX_OUT], int32_t stride,
                              int32_t n_groups, step s, int real) {
    HLS_STAGE(HORZ);
    horizontal(out, in, weights, start, count, stride, n_groups, s.n_src, real);
}
static void resize_vertical(band out, ring rows, columns in, const int32_t *table, int32_t start[HLS_MAX_OUT],
                            int32_t count[HLS_MAX_OUT], int32_t stride, setup f, step s, int real) {
    HLS_STAGE(VERT);
    vertical(out, rows, in, table, start, count, stride, f.out_h, f.out_w, s.src, s.n_src, s.mid, s.n_mid,
             real);
}
static void blur_horizontal(columns out, band in, int32_t weights[HLS_MAX_WEIGHTS],
                            int32_t start[HLS_MAX_OUT], int32_t count[HLS_MAX_OUT], int32_t stride,
                            int32_t n_groups, step s) {
    HLS_STAGE(BLUR_HORZ);
    horizontal(out, in, weights, start, count, stride, n_groups, s.n_mid, 0);
}
static void blur_vertical(band out, ring rows, columns in, const int32_t *table, int32_t start[HLS_MAX_OUT],
                          int32_t count[HLS_MAX_OUT], int32_t stride, setup f, step s) {
    HLS_STAGE(BLUR_VERT);
    vertical(out, rows, in, table, start, count, stride, f.out_h, f.out_w, s.mid, s.n_mid, s.out, s.n_out, 0);
}

void lpo_hls_preprocess(const uint8_t *plane0, const uint8_t *plane1, const uint8_t *plane2,
                        const int32_t *horz_taps, const int32_t *vert_taps, const int32_t *blur_horz_taps,
                        const int32_t *blur_vert_taps, const int32_t *schedule, const uint32_t *levels,
                        uint8_t *rgb, uint32_t *patches_f32, uint16_t *patches_bf16, int32_t pixfmt,
                        int32_t matrix, int32_t full_range, int32_t width, int32_t height, int32_t pitch0,
                        int32_t pitch1, int32_t pitch2, int32_t crop_x, int32_t crop_y, int32_t crop_w,
                        int32_t crop_h, int32_t out_w, int32_t out_h, int32_t mode, int32_t horz_stride,
                        int32_t vert_stride, int32_t blur_horz_stride, int32_t blur_vert_stride, int32_t grey,
                        int32_t hflip, int32_t noise_scale, uint32_t noise_key0, uint32_t noise_key1,
                        int32_t n_steps, int32_t want_rgb, int32_t patch_type, int32_t patch, int32_t merge,
                        int32_t temporal, int32_t grid_t, int32_t slot, int32_t n_slots) {
    const setup f = {pixfmt, matrix, full_range, width, height, crop_x, crop_y, crop_w, crop_h, out_w, out_h};
    const patch_place place = {patch_type, patch, merge, temporal, grid_t, slot, n_slots};
    const int real = mode == LPO_PREP_TORCHVISION;
    int32_t start_h[HLS_MAX_OUT], count_h[HLS_MAX_OUT], start_v[HLS_MAX_OUT], count_v[HLS_MAX_OUT];
    int32_t start_bh[HLS_MAX_OUT], count_bh[HLS_MAX_OUT], start_bv[HLS_MAX_OUT], count_bv[HLS_MAX_OUT];
    int32_t weights_h[HLS_MAX_WEIGHTS], weights_bh[HLS_MAX_WEIGHTS];
    uint32_t level[3][256];
#pragma HLS ARRAY_PARTITION variable = weights_h cyclic factor = 8
#pragma HLS ARRAY_PARTITION variable = weights_bh cyclic factor = 8
    ring resized, blurred;
    patch_lines lines;
#pragma HLS ARRAY_PARTITION variable = resized cyclic factor = 8 dim = 1
#pragma HLS ARRAY_PARTITION variable = resized cyclic factor = 8 dim = 2
#pragma HLS ARRAY_PARTITION variable = blurred cyclic factor = 8 dim = 1
#pragma HLS ARRAY_PARTITION variable = blurred cyclic factor = 8 dim = 2
#pragma HLS BIND_STORAGE variable = resized type = ram_2p impl = uram
#pragma HLS BIND_STORAGE variable = blurred type = ram_2p impl = uram

    load_windows(start_h, count_h, horz_taps, out_w, horz_stride);
    load_windows(start_v, count_v, vert_taps, out_h, vert_stride);
    load_windows(start_bh, count_bh, blur_horz_taps, out_w, blur_horz_stride);
    load_windows(start_bv, count_bv, blur_vert_taps, out_h, blur_vert_stride);
    HLS_STAGE(HORZ);
    const int32_t groups_h = load_weights(weights_h, horz_taps, count_h, out_w, horz_stride);
    HLS_STAGE(BLUR_HORZ);
    const int32_t groups_bh = load_weights(weights_bh, blur_horz_taps, count_bh, out_w, blur_horz_stride);
    load_levels(level, levels, patch_type);

    for (int32_t i = 0; i < n_steps; i++) {
#pragma HLS LOOP_TRIPCOUNT max = 4608
#pragma HLS DATAFLOW
        step s[N_STAGES];
        uint8_t p0[HLS_LANES][PLANE_BYTES], p1[HLS_LANES][PLANE_BYTES], p2[HLS_LANES][PLANE_BYTES];
        band source, mid, soft, done, for_patches;
        columns passed, soft_passed;
#pragma HLS ARRAY_PARTITION variable = s complete
#pragma HLS ARRAY_PARTITION variable = p0 complete dim = 1
#pragma HLS ARRAY_PARTITION variable = p1 complete dim = 1
#pragma HLS ARRAY_PARTITION variable = p2 complete dim = 1
#pragma HLS ARRAY_PARTITION variable = source complete dim = 1
#pragma HLS ARRAY_PARTITION variable = source cyclic factor = 8 dim = 2
#pragma HLS ARRAY_PARTITION variable = mid complete dim = 1
#pragma HLS ARRAY_PARTITION variable = mid cyclic factor = 8 dim = 2
#pragma HLS ARRAY_PARTITION variable = passed complete dim = 2
#pragma HLS ARRAY_PARTITION variable = soft_passed complete dim = 2
        fetch_step(s, schedule, i);
        read_plane(p0, plane0, pitch0, f, 0, s[READ0]);
        read_plane(p1, plane1, pitch1, f, 1, s[READ1]);
        read_plane(p2, plane2, pitch2, f, 2, s[READ2]);
        colour(source, p0, p1, p2, f, s[COLOUR]);
        resize_horizontal(passed, source, weights_h, start_h, count_h, horz_stride, groups_h, s[HORZ], real);
        resize_vertical(mid, resized, passed, vert_taps, start_v, count_v, vert_stride, f, s[VERT], real);
        blur_horizontal(soft_passed, mid, weights_bh, start_bh, count_bh, blur_horz_stride, groups_bh,
                        s[BLUR_HORZ]);
        blur_vertical(soft, blurred, soft_passed, blur_vert_taps, start_bv, count_bv, blur_vert_stride, f,
                      s[BLUR_VERT]);
        finish(done, for_patches, soft, f, s[FINISH], grey, hflip, noise_scale, noise_key0, noise_key1);
        write_rgb(rgb, done, f, s[WRITE_RGB], want_rgb);
        patches(patches_f32, patches_bf16, lines, for_patches, level, f, s[PATCHES], place);
    }
}
