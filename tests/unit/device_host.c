/* SPDX-License-Identifier: Apache-2.0 */
/* device_host.c -- names open the right device or say which exist; host drivers bound every access; cpu
 * leaves f64 to ref. */
#include "device/driver.h"
#include "leanpo/device.h"

#include <criterion/criterion.h>
#include <string.h>

static lpo_device *opened(const char *name) {
    lpo_device *d;
    lpo_error e = {0};
    cr_assert_eq(lpo_device_open(&d, name, &e), LPO_OK, "%s", e.msg);
    return d;
}

Test(device_host, names) {
    lpo_device *d;
    lpo_error e = {0};
    static const char *const good[][2] = {{"cpu", "cpu"}, {"ref", "ref"}, {"cpu:0", "cpu"}};
    for (int i = 0; i < 3; i++) {
        d = opened(good[i][0]);
        cr_expect_str_eq(lpo_device_driver(d)->name, good[i][1]);
        lpo_device_close(d);
    }
    d = opened("auto");
    lpo_device_close(d);
    lpo_device_close(NULL);
    static const char *const unknown[] = {"", "gpu9", "cp", "cpu:", "cpu:x", "cpu:-1", "cpu:0x", ":0"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        cr_expect_eq(lpo_device_open(&d, unknown[i], &e), LPO_EINVAL, "%s", unknown[i]);
        cr_expect_null(d);
        cr_expect(strstr(e.msg, "cpu") && strstr(e.msg, "ref"), "%s", e.msg);
    }
    cr_expect_eq(lpo_device_open(&d, "cpu:1", &e), LPO_ENOTFOUND);
    cr_expect(strstr(e.msg, "1 cpu device"), "%s", e.msg);
}

/* The list gives every device of the backbone a spec that opens, cpu among them; csim, which is no such
 * device, stands in it too; and it counts past a short array. */
Test(device_host, list) {
    lpo_device_desc list[16];
    int n = lpo_device_list(list, 16);
    cr_assert(n >= 2 && n <= 16);
    bool cpu = false, csim = false;
    for (int i = 0; i < n; i++) {
        if (!strcmp(list[i].stages, "backbone")) lpo_device_close(opened(list[i].spec));
        cr_expect_gt(strlen(list[i].name), 0);
        cpu |= !strcmp(list[i].spec, "cpu");
        csim |= !strcmp(list[i].spec, "csim");
    }
    cr_expect(cpu && csim);
    cr_expect_eq(lpo_device_list(list, 0), n);
}

Test(device_host, threads) {
    cr_expect_eq(lpo_device_threads(2), 2);
    cr_expect_eq(lpo_device_threads(0), 2, "0 only asks");
    cr_expect_eq(lpo_device_threads(1), 1);
}

/* Buffers are aligned host memory; nothing is read or written outside them, also by a step. */
Test(device_host, bounds) {
    lpo_device *d = opened("cpu");
    const lpo_driver *v = lpo_device_driver(d);
    lpo_error e = {0};
    lpo_buffer *b;
    float x[4] = {1, 2, 3, 4}, y[4] = {0};
    cr_assert_eq(v->alloc(&b, d, sizeof x, &e), LPO_OK);
    cr_expect_eq((uintptr_t)((lpo_buffer_head *)b)->host % 64, 0);
    cr_expect_eq(lpo_buffer_bytes(b), sizeof x);
    cr_expect_eq(v->upload(b, 0, x, sizeof x, &e), LPO_OK);
    cr_expect_eq(v->download(y, b, 4, 12, &e), LPO_OK);
    cr_expect_eq(y[0], 2.f);
    cr_expect_eq(v->upload(b, 4, x, sizeof x, &e), LPO_EINVAL);
    cr_expect_eq(v->download(y, b, SIZE_MAX, 2, &e), LPO_EINVAL);
    lpo_dtensor t = {.buffer = b, .dtype = LPO_F32, .ndim = 1, .shape = {4}};
    lpo_step s = {.op = LPO_OP_ADD, .arg = {t, t, t}};
    cr_expect(v->supports(d, &s));
    cr_expect_eq(v->submit(d, &s, &e), LPO_OK);
    cr_expect_eq(v->wait(d, &e), LPO_OK);
    cr_expect_eq(v->download(y, b, 0, sizeof y, &e), LPO_OK);
    cr_expect_eq(y[3], 8.f);
    s.arg[1].shape[0] = 5;
    cr_expect_eq(v->submit(d, &s, &e), LPO_EINVAL);
    cr_expect(strstr(e.msg, "add argument 1"), "%s", e.msg);
    cr_expect_eq(v->alloc(&b, d, SIZE_MAX, &e), LPO_ENOMEM);
    v->release(((lpo_buffer *)t.buffer));
    v->release(NULL);
    lpo_device_close(d);
}

/* kernels/cpu computes in float: doubles go to ref, but for the f64 that op.h gives the gradient norm. */
Test(device_host, cpu_leaves_f64_to_ref) {
    lpo_device *cpu = opened("cpu"), *ref = opened("ref");
    lpo_buffer_head any = {.device = cpu};
    lpo_dtensor d = {.buffer = (lpo_buffer *)&any, .dtype = LPO_F64, .ndim = 1, .shape = {1}}, f = d;
    f.dtype = LPO_F32;
    lpo_step add = {.op = LPO_OP_ADD, .arg = {d, d, d}}, norm = {.op = LPO_OP_SQNORM, .arg = {d, f}};
    cr_expect_not(lpo_device_driver(cpu)->supports(cpu, &add));
    cr_expect(lpo_device_driver(ref)->supports(ref, &add));
    cr_expect(lpo_device_driver(cpu)->supports(cpu, &norm));
    lpo_device_close(cpu);
    lpo_device_close(ref);
}
