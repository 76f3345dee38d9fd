/* SPDX-License-Identifier: Apache-2.0 */
/* fpga_place.c -- the preprocess stage on csim and on the software card under Debian's XRT gives the CPU's
 * bytes, also when the card fails. One process a test, so XRT starts afresh in each. */
#include "base/rng.h"
#include "device/fpga/fpga.h"
#include "hls/preprocess/launch.h"
#include "leanpo/xclbin.h"
#include "train/prep_device.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- random frames ---- */

static lpo_rng rng;
static int32_t draw(int32_t n) { /* 0..n-1 */
    return (int32_t)lpo_rng_below(&rng, (uint32_t)n);
}
static void *memory(size_t bytes) {
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
    cr_assert(p);
    return p;
}

typedef struct frame_case {
    lpo_prep_frame_args a;
    void *owned[8];
    int n_owned;
    uint8_t *got, *want;
} frame_case;

static void *own(frame_case *c, size_t bytes) {
    return c->owned[c->n_owned++] = memory(bytes);
}

static void make_tables(frame_case *c, double blur_sigma) {
    lpo_prep_frame_args *a = &c->a;
    void *h = own(c, lpo_prep_taps_bytes(a->crop_w, a->out_w)),
         *v = own(c, lpo_prep_taps_bytes(a->crop_h, a->out_h));
    (a->mode == LPO_PREP_PILLOW ? lpo_prep_taps_pillow : lpo_prep_taps_torchvision)(&a->horz, h, a->crop_w,
                                                                                    a->out_w);
    (a->mode == LPO_PREP_PILLOW ? lpo_prep_taps_pillow : lpo_prep_taps_torchvision)(&a->vert, v, a->crop_h,
                                                                                    a->out_h);
    if (blur_sigma <= 0) return;
    lpo_prep_taps_blur(&a->blur_horz, own(c, lpo_prep_taps_blur_bytes(a->out_w, blur_sigma)), a->out_w,
                       blur_sigma);
    lpo_prep_taps_blur(&a->blur_vert, own(c, lpo_prep_taps_blur_bytes(a->out_h, blur_sigma)), a->out_h,
                       blur_sigma);
}

/* Pitches of every kind: whole words of 64 bytes, odd ones, rows that run upwards. Each plane ends where its
 * last pixel ends, so that a sanitizer sees a byte read too far. */
static void make_planes(frame_case *c) {
    lpo_prep_frame *f = &c->a.src;
    int32_t half_w = (f->width + 1) / 2, half_h = (f->height + 1) / 2;
    int32_t w[3] = {f->width, f->width, f->width}, h[3] = {f->height, f->height, f->height};
    if (f->pixfmt == LPO_PREP_RGB24) w[0] *= 3, w[1] = w[2] = 0;
    if (f->pixfmt == LPO_PREP_NV12) w[1] = 2 * half_w, w[2] = 0, h[1] = half_h;
    if (f->pixfmt == LPO_PREP_YUV420P) w[1] = w[2] = half_w, h[1] = h[2] = half_h;
    if (f->pixfmt == LPO_PREP_YUV422P) w[1] = w[2] = half_w;
    int32_t kind = draw(3);
    for (int p = 0; p < 3; p++) {
        if (!w[p]) continue;
        int32_t pitch = kind == 0 ? (w[p] + 63) / 64 * 64 : w[p] + draw(5);
        size_t n = (size_t)pitch * (size_t)(h[p] - 1) + (size_t)w[p];
        uint8_t *at = c->owned[c->n_owned++] = malloc(n);
        cr_assert(at);
        for (size_t i = 0; i < n; i++) at[i] = (uint8_t)(i * 2654435761u >> 7 ^ (size_t)p * 77);
        for (int i = 0; i < 64; i++) at[lpo_rng_below(&rng, (uint32_t)n)] = (uint8_t)draw(256);
        f->plane[p] = kind == 2 ? at + (size_t)pitch * (size_t)(h[p] - 1) : at;
        f->pitch_bytes[p] = kind == 2 ? -pitch : pitch;
    }
}

static frame_case random_case(int32_t max_w, int32_t max_h, int32_t max_out) {
    frame_case c;
    memset(&c, 0, sizeof c);
    lpo_prep_frame_args *a = &c.a;
    a->src.pixfmt = draw(6), a->src.matrix = draw(3), a->src.full_range = draw(2);
    a->src.width = max_w > 1000 ? max_w : 1 + draw(max_w),
    a->src.height = max_h > 1000 ? max_h : 1 + draw(max_h);
    a->crop_w = draw(2) ? a->src.width : 1 + draw(a->src.width);
    a->crop_h = draw(2) ? a->src.height : 1 + draw(a->src.height);
    a->crop_x = draw(a->src.width - a->crop_w + 1), a->crop_y = draw(a->src.height - a->crop_h + 1);
    a->out_w = (a->crop_w + 12) / 13 + draw(max_out), a->out_h = (a->crop_h + 12) / 13 + draw(max_out);
    a->mode = draw(2) ? LPO_PREP_TORCHVISION : LPO_PREP_PILLOW;
    a->grey = !draw(4), a->hflip = !draw(3);
    a->noise_scale = draw(3) ? 0 : lpo_prep_noise_scale(1 + draw(30));
    a->noise_key[0] = (uint32_t)draw(1 << 30), a->noise_key[1] = (uint32_t)draw(1 << 30);
    make_planes(&c);
    make_tables(&c, draw(3) ? 0 : 0.2 + draw(88) / 10.0);
    size_t n = (size_t)a->out_w * (size_t)a->out_h * 3;
    c.got = own(&c, n);
    memset(c.got, 0x5a, n);
    return c;
}

/* The same frame on the CPU. */
static size_t differing(const frame_case *c) {
    size_t n = (size_t)c->a.out_w * (size_t)c->a.out_h * 3, d = 0;
    uint8_t *want = memory(n);
    void *work = memory(lpo_prep_workspace_bytes(&c->a));
    lpo_cpu_preprocess_frame(want, &c->a, work);
    for (size_t i = 0; i < n; i++) d += want[i] != c->got[i];
    free(want);
    free(work);
    return d;
}

static void release(frame_case *c) {
    for (int i = 0; i < c->n_owned; i++) free(c->owned[i]);
}

/* ---- a batch of them on a device ---- */

static void run_cases(lpo_prep_engine *e, int n, int32_t max_w, int32_t max_h, int32_t max_out) {
    frame_case *c = calloc((size_t)n, sizeof *c);
    void *batch = NULL;
    lpo_error err;
    for (int i = 0; i < n; i++) {
        do {
            release(&c[i]);
            c[i] = random_case(max_w, max_h, max_out);
        } while (e->refuses(e->self, &c[i].a));
        cr_assert_eq(e->submit(e->self, &batch, c[i].got, &c[i].a, &err), LPO_OK, "%s", err.msg);
    }
    cr_assert_eq(e->finish(e->self, batch, &err), LPO_OK, "%s", err.msg);
    for (int i = 0; i < n; i++) {
        size_t d = differing(&c[i]);
        cr_expect_eq(d, 0,
                     "case %d: %zu bytes differ (format %d, %dx%d crop %dx%d -> %dx%d, mode %d, blur %d)", i,
                     d, c[i].a.src.pixfmt, c[i].a.src.width, c[i].a.src.height, c[i].a.crop_w, c[i].a.crop_h,
                     c[i].a.out_w, c[i].a.out_h, c[i].a.mode, c[i].a.blur_horz.n_out);
        release(&c[i]);
    }
    free(c);
}

static lpo_fpga *open_device(const char *device) {
    lpo_error err;
    lpo_fpga *f = NULL;
    cr_assert_eq(lpo_fpga_open(&f, device, NULL, &err), LPO_OK, "%s", err.msg);
    return f;
}

static lpo_prep_engine *engine_on(lpo_fpga *f) {
    lpo_error err;
    lpo_prep_engine *e = NULL;
    cr_assert_eq(lpo_prep_device_create(&e, f, &err), LPO_OK, "%s", err.msg);
    return e;
}

/* A build or a machine without XRT has no card to test; ctest's output says why. */
static void need_card(void) {
    lpo_card_variable v[LPO_CARD_VARIABLES];
    lpo_error err;
    unsetenv("LEANPO_XCLBIN");
    unsetenv("LEANPO_CARD_FAULTS");
    setenv("LEANPO_FPGA_TIMEOUT_MS", "20000", 1);
    if (lpo_card_environment(v, &err)) cr_skip_test("SKIP: %s", err.msg);
}

/* Truth: 0 bytes differ from the CPU over 500 random frames of every format, pitch, crop, augmentation and
 * both modes, and over 4K frames. */
Test(fpga_place, csim_gives_the_bytes_of_the_cpu) {
    lpo_fpga *f = open_device("csim");
    lpo_prep_engine *e = engine_on(f);
    rng = lpo_rng_init(1, 1);
    for (int i = 0; i < 10; i++) run_cases(e, 50, i ? 90 : 300, i ? 90 : 200, i ? 90 : 200);
    run_cases(e, 3, 3840, 2160, 300);
    lpo_prep_device_destroy(e);
    lpo_fpga_close(f);
}

/* Truth: and so through XRT, from buffers in the banks the container names, several in flight on two compute
 * units. */
Test(fpga_place, card_gives_the_bytes_of_the_cpu) {
    need_card();
    lpo_fpga *f = open_device("fpga");
    lpo_prep_engine *e = engine_on(f);
    rng = lpo_rng_init(2, 1);
    for (int i = 0; i < 3; i++) run_cases(e, 40, 120, 120, 120);
    run_cases(e, 2, 3840, 2160, 300);
    lpo_fpga_stats s;
    lpo_fpga_get_stats(&s, f, LPO_HLS_preprocess);
    cr_expect_eq(s.jobs, 122);
    cr_expect_eq(s.fallbacks + s.retries + s.aborts + s.timeouts, 0);
    cr_expect_gt(s.bytes_up, (uint64_t)3840 * 2160 * 2);
    lpo_prep_device_destroy(e);
    lpo_fpga_close(f);
}

/* ---- what goes wrong ---- */

typedef struct fault_case {
    char faults[80], verify[4];
    int retries, fallbacks; /* at least */
} fault_case;

ParameterizedTestParameters(fpga_place, faults_change_no_byte) {
    static fault_case cases[] = {
        {"abort:preprocess_1@3", "0", 1, 0},
        {"abort:preprocess_1@*", "0", 1, 1},
        {"hang:preprocess_2@4", "0", 1, 0},
        {"hang:preprocess_1@*,hang:preprocess_2@*", "0", 1, 1},
        {"late:preprocess_1@2", "0", 0, 0},
        {"alloc@3", "0", 1, 0},
        {"alloc@*", "0", 1, 1},
        {"abort:preprocess_2@2,load@2", "0", 0, 1},
        {"short@5", "1", 1, 0},
        {"short@*", "1", 1, 1},
        {"abort:preprocess_1@3,hang:preprocess_2@2,alloc@30", "0", 1, 0},
    };
    return cr_make_param_array(fault_case, cases, sizeof cases / sizeof *cases);
}

/* Truth: whatever the card does (a kernel that aborts or hangs, once or always, on one unit or on all; memory
 * that is refused; a container that does not load again; transfers cut short, when results are verified), the
 * host lives, every byte is right, and the statistics say what happened. */
ParameterizedTest(fault_case *c, fpga_place, faults_change_no_byte) {
    need_card();
    setenv("LEANPO_CARD_FAULTS", c->faults, 1);
    setenv("LEANPO_FPGA_VERIFY", c->verify, 1);
    if (strstr(c->faults, "hang")) setenv("LEANPO_FPGA_TIMEOUT_MS", "500", 1);
    lpo_fpga *f = open_device("fpga");
    lpo_prep_engine *e = engine_on(f);
    rng = lpo_rng_init(3, 1);
    run_cases(e, 12, 60, 60, 60);
    lpo_fpga_stats s;
    lpo_fpga_get_stats(&s, f, LPO_HLS_preprocess);
    cr_expect_eq(s.jobs, 12);
    cr_expect_geq(s.retries, c->retries, "%s: %d retries", c->faults, (int)s.retries);
    cr_expect_geq(s.fallbacks, c->fallbacks, "%s: %d fall-backs", c->faults, (int)s.fallbacks);
    if (!c->fallbacks) cr_expect_eq(s.fallbacks, 0, "%s: %d fall-backs", c->faults, (int)s.fallbacks);
    lpo_prep_device_destroy(e);
    lpo_fpga_close(f);
}

static int count_entries(const char *dir, const char *containing) {
    DIR *d = opendir(dir);
    int n = 0;
    for (struct dirent *e; d && (e = readdir(d));) n += !containing || strstr(e->d_name, containing) != NULL;
    if (d) closedir(d);
    return n;
}

static int count_children(void) {
    char path[64], text[4096];
    int n = 0;
    DIR *d = opendir("/proc/self/task");
    for (struct dirent *e; d && (e = readdir(d));) {
        snprintf(path, sizeof path, "/proc/self/task/%.20s/children", e->d_name);
        FILE *f = fopen(path, "r");
        size_t got = f ? fread(text, 1, sizeof text - 1, f) : 0;
        for (size_t i = 0; i < got; i++) n += text[i] == ' ';
        if (f) fclose(f);
    }
    if (d) closedir(d);
    return n;
}

/* Truth: 200 aborts in a row leave no process, no descriptor and nothing in /dev/shm behind. */
Test(fpga_place, faults_leak_nothing) {
    need_card();
    int fds = 0, shm = 0;
    setenv("LEANPO_CARD_FAULTS", "abort@*", 1);
    for (int i = 0; i < 101; i++) {
        lpo_fpga *f = open_device("fpga");
        lpo_prep_engine *e = engine_on(f);
        rng = lpo_rng_init(4, (uint64_t)i);
        run_cases(e, 1, 20, 20, 20);
        lpo_fpga_stats s;
        lpo_fpga_get_stats(&s, f, LPO_HLS_preprocess);
        cr_expect_eq(s.aborts, 2);
        cr_expect_eq(s.fallbacks, 1);
        lpo_prep_device_destroy(e);
        lpo_fpga_close(f);
        if (i == 0) fds = count_entries("/proc/self/fd", NULL), shm = count_entries("/dev/shm", "leanpo");
    }
    cr_expect_eq(count_entries("/proc/self/fd", NULL), fds);
    cr_expect_eq(count_entries("/dev/shm", "leanpo"), shm);
    cr_expect_eq(count_children(), 0);
}
