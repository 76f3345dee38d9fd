/* SPDX-License-Identifier: Apache-2.0 */
/* media_prep.c -- how fast a video becomes a clip: the resize alone on each instruction set, decoding alone,
 * and decoding with exact preprocessing of every frame, at 1 and 2 threads. usage: bench_media_prep [--video
 * F] [--frames N] [--json F] Without --video it makes a 1080p H.264 clip of moving texture. Then
 * `media_prep_peer.py F.json` measures what people run instead (PyAV, Pillow, numpy) on the same file and
 * prints both in one table. Times are the best of several. */
#include "base/json.h"
#include "kernels/preprocess.h"
#include "leanpo/media.h"
#include "leanpo/prep.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { W = 1920, H = 1080, SIDE = 448, REPEATS = 15 };

static double read_clock(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static double now(void) {
    return read_clock(CLOCK_MONOTONIC);
}

/* Wall time for the rate a user sees; processor time of all threads for what the work costs, which a busy
 * machine disturbs less. Kept: the best of each. */
typedef struct cost {
    double wall, cpu;
} cost;
static cost start_cost(void) {
    return (cost){now(), read_clock(CLOCK_PROCESS_CPUTIME_ID)};
}
static void keep_best(cost *best, cost start) {
    cost end = start_cost();
    if (end.wall - start.wall < best->wall) best->wall = end.wall - start.wall;
    if (end.cpu - start.cpu < best->cpu) best->cpu = end.cpu - start.cpu;
}

static void die(const lpo_error *err) {
    fprintf(stderr, "bench_media_prep: %s\n", err->msg);
    exit(1);
}

static void record(json_t *rows, const char *what, const char *how, int threads, double value,
                   const char *unit) {
    printf("%-34s %-12s %7d %10.2f %s\n", what, how, threads, value, unit);
    json_array_append_new(rows, json_pack("{s:s, s:s, s:i, s:f, s:s}", "what", what, "how", how, "threads",
                                          threads, "value", value, "unit", unit));
}

/* Milliseconds of one frame of this format, random content, on each level. */
static void resize_alone(json_t *rows, int pixfmt, int mode, const char *what) {
    uint8_t *data = malloc((size_t)W * H * 3);
    for (size_t i = 0; i < (size_t)W * H * 3; i++) data[i] = (uint8_t)((i * 2654435761u) >> 13);
    lpo_prep_frame_args a = {.src = {pixfmt, LPO_PREP_BT709, 0, W, H, {data}, {3 * W}}, .mode = mode};
    if (pixfmt == LPO_PREP_YUV420P) {
        a.src.plane[1] = data + (size_t)W * H, a.src.plane[2] = a.src.plane[1] + (size_t)W * H / 4;
        a.src.pitch_bytes[0] = W, a.src.pitch_bytes[1] = a.src.pitch_bytes[2] = W / 2;
    }
    a.crop_w = W, a.crop_h = H, a.out_w = a.out_h = SIDE;
    void *horz = aligned_alloc(64, (lpo_prep_taps_bytes(W, SIDE) + 63) & ~(size_t)63);
    void *vert = aligned_alloc(64, (lpo_prep_taps_bytes(H, SIDE) + 63) & ~(size_t)63);
    (mode ? lpo_prep_taps_torchvision : lpo_prep_taps_pillow)(&a.horz, horz, W, SIDE);
    (mode ? lpo_prep_taps_torchvision : lpo_prep_taps_pillow)(&a.vert, vert, H, SIDE);
    void *work = aligned_alloc(64, (lpo_cpu_preprocess_bytes(&a) + 63) & ~(size_t)63);
    uint8_t *out = malloc((size_t)SIDE * SIDE * 3);
    static const char *const names[] = {"portable", "avx2", "avx512"};
    for (int level = 0; level < 3; level++) {
        if (lpo_cpu_preprocess_level(level) != level) continue;
        double best = 1e9;
        for (int k = 0; k < REPEATS; k++) {
            double t = now();
            lpo_cpu_preprocess_frame(out, &a, work);
            t = now() - t;
            if (t < best) best = t;
        }
        record(rows, what, names[level], 1, 1e3 * best, "ms");
    }
    lpo_cpu_preprocess_level(LPO_PREP_AUTO);
    free(out), free(work), free(vert), free(horz), free(data);
}

static void make_video(const char *path, int n_frames) {
    lpo_error err = {0};
    lpo_encoder *e;
    lpo_encode_options o = {.width = W, .height = H, .fps = 30, .crf = 23};
    uint8_t *rgb = malloc((size_t)W * H * 3);
    if (lpo_encoder_open(&e, path, &o, &err)) die(&err);
    for (int f = 0; f < n_frames; f++) {
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++) {
                uint32_t cell = (uint32_t)((x + 5 * f) / 24 * 7919 + (y + 3 * f) / 24 * 104729);
                uint32_t grain = ((uint32_t)(x * 31 + y * 17 + f * 13) * 2654435761u) >> 29;
                uint8_t *p = rgb + ((size_t)y * W + (size_t)x) * 3;
                p[0] = (uint8_t)(cell % 200 + grain), p[1] = (uint8_t)(cell / 7 % 200 + grain);
                p[2] = (uint8_t)((x + y + 9 * f) % 240 + (int)grain);
            }
        if (lpo_encoder_put(e, rgb, &err)) die(&err);
    }
    if (lpo_encoder_finish(e, &err)) die(&err);
    free(rgb);
}

static lpo_status ignore(void *user, int i, const lpo_frame *frame, lpo_error *err) {
    (void)user, (void)i, (void)frame, (void)err;
    return LPO_OK;
}

/* The whole file, opening included; n_frames even. */
static void decode_only(cost *best, const char *path, int n_frames, int threads) {
    lpo_error err = {0};
    lpo_video *v;
    int64_t *all = malloc(sizeof *all * (size_t)n_frames);
    for (int k = 0; k < n_frames; k++) all[k] = k;
    cost start = start_cost();
    if (lpo_video_open(&v, path, NULL, threads, &err)) die(&err);
    if (lpo_video_read(v, all, n_frames, ignore, NULL, &err)) die(&err);
    lpo_video_close(v);
    keep_best(best, start);
    free(all);
}

static void decode_and_prep(cost *best, const char *path, int n_frames, int threads, int pillow) {
    lpo_error err = {0};
    lpo_prep_options o;
    lpo_clip clip;
    if (lpo_prep_options_load(&o, NULL, &err)) die(&err);
    o.n_frames = n_frames, o.n_threads = threads, o.resize_pillow = pillow;
    o.target_h = o.target_w = SIDE;
    cost start = start_cost();
    if (lpo_prep_video(&clip, path, &o, NULL, &err)) die(&err);
    keep_best(best, start);
    lpo_clip_clear(&clip);
}

int main(int argc, char **argv) {
    const char *video = NULL, *json_path = "media_prep.json";
    int n_frames = 120;
    for (int k = 1; k + 1 < argc; k += 2) {
        if (!strcmp(argv[k], "--video")) video = argv[k + 1];
        if (!strcmp(argv[k], "--json")) json_path = argv[k + 1];
        if (!strcmp(argv[k], "--frames")) n_frames = atoi(argv[k + 1]) / 2 * 2;
    }
    if (n_frames < 2) n_frames = 2;
    json_t *rows = json_array();
    lpo_error err = {0};
    printf("%-34s %-12s %7s %10s\n", "work", "how", "threads", "");
    resize_alone(rows, LPO_PREP_RGB24, LPO_PREP_PILLOW, "resize 1080p RGB to 448, pillow");
    resize_alone(rows, LPO_PREP_RGB24, LPO_PREP_TORCHVISION, "resize 1080p RGB to 448, torchvision");
    resize_alone(rows, LPO_PREP_YUV420P, LPO_PREP_PILLOW, "4:2:0 to RGB and resize, pillow");
    if (!video) make_video(video = "media_prep_1080p.mp4", n_frames);
    for (int threads = 1; threads <= 2; threads++) {
        static const char *const names[3] = {"decode only", "decode and prep, pillow",
                                             "decode and prep, torchvision"};
        cost best[3] = {{1e9, 1e9}, {1e9, 1e9}, {1e9, 1e9}};
        for (int k = 0; k < 3; k++) { /* interleaved: the machine's mood falls on all alike */
            decode_only(&best[0], video, n_frames, threads);
            decode_and_prep(&best[1], video, n_frames, threads, 1);
            decode_and_prep(&best[2], video, n_frames, threads, 0);
        }
        for (int k = 0; k < 3; k++) {
            record(rows, names[k], "leanpo", threads, n_frames / best[k].wall, "frames/s");
            record(rows, names[k], "leanpo", threads, 1e3 * best[k].cpu / n_frames, "cpu ms/frame");
        }
    }
    json_t *report = json_pack("{s:s, s:i, s:o}", "video", video, "frames", n_frames, "rows", rows);
    if (lpo_json_save(report, json_path, &err)) die(&err);
    json_decref(report);
    return 0;
}
