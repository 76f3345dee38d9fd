/* SPDX-License-Identifier: Apache-2.0 */
/* fpga_place.c -- the preprocess stage on csim and on the software card under Debian's XRT gives the
 * reference's bytes, also when the card fails. One process a test, so XRT starts afresh in each. */
#include "device/fpga/fpga.h"
#include "leanpo/prep.h"
#include "leanpo/xclbin.h"
#include "train/prep_device.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/prep_frames.h"

static void run_cases(lpo_prep_engine *e, int n, int32_t max_w, int32_t max_h, int32_t max_out) {
    prep_cases_run(e, n, (prep_limits){max_w, max_h, max_out, 13, false});
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

/* Truth: 0 bytes differ from the reference over 500 random frames of every format, pitch, crop, augmentation
 * and both modes, and over 4K frames. */
Test(fpga_place, csim_gives_the_bytes_of_the_cpu) {
    lpo_fpga *f = open_device("csim");
    lpo_prep_engine *e = engine_on(f);
    prep_state = 1;
    for (int i = 0; i < 10; i++) run_cases(e, 50, i ? 90 : 300, i ? 90 : 200, i ? 90 : 200);
    run_cases(e, 3, 3840, 2160, 300);
    lpo_prep_engine_close(e);
    lpo_fpga_close(f);
}

/* Truth: and so through XRT, from buffers in the banks the container names, several in flight on two compute
 * units. */
Test(fpga_place, card_gives_the_bytes_of_the_cpu) {
    need_card();
    lpo_fpga *f = open_device("fpga");
    lpo_prep_engine *e = engine_on(f);
    prep_state = 2;
    for (int i = 0; i < 3; i++) run_cases(e, 40, 120, 120, 120);
    run_cases(e, 2, 3840, 2160, 300);
    lpo_fpga_stats s;
    lpo_fpga_get_stats(&s, f, LPO_HLS_preprocess);
    cr_expect_eq(s.jobs, 122);
    cr_expect_eq(s.fallbacks + s.retries + s.aborts + s.timeouts, 0);
    cr_expect_gt(s.bytes_up, (uint64_t)3840 * 2160 * 2);
    lpo_prep_engine_close(e);
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
    prep_state = 3;
    run_cases(e, 12, 60, 60, 60);
    lpo_fpga_stats s;
    lpo_fpga_get_stats(&s, f, LPO_HLS_preprocess);
    cr_expect_eq(s.jobs, 12);
    cr_expect_geq(s.retries, c->retries, "%s: %d retries", c->faults, (int)s.retries);
    cr_expect_geq(s.fallbacks, c->fallbacks, "%s: %d fall-backs", c->faults, (int)s.fallbacks);
    if (!c->fallbacks) cr_expect_eq(s.fallbacks, 0, "%s: %d fall-backs", c->faults, (int)s.fallbacks);
    lpo_prep_engine_close(e);
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
        prep_state = 400u + (uint32_t)i;
        run_cases(e, 1, 20, 20, 20);
        lpo_fpga_stats s;
        lpo_fpga_get_stats(&s, f, LPO_HLS_preprocess);
        cr_expect_eq(s.aborts, 2);
        cr_expect_eq(s.fallbacks, 1);
        lpo_prep_engine_close(e);
        lpo_fpga_close(f);
        if (i == 0) fds = count_entries("/proc/self/fd", NULL), shm = count_entries("/dev/shm", "leanpo");
    }
    cr_expect_eq(count_entries("/proc/self/fd", NULL), fds);
    cr_expect_eq(count_entries("/dev/shm", "leanpo"), shm);
    cr_expect_eq(count_children(), 0);
}
