/* SPDX-License-Identifier: Apache-2.0 */
/* opencl_driver.c -- what the OpenCL driver does when things go wrong: too much memory, index tables that
 * lie, a damaged program cache, a kernel that does not compile. After each the device still works. */
#include "base/file.h"
#include "device/opencl/opencl.h"
#include "kernels/op.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(call) cr_assert_eq(call, LPO_OK, "%s", err.msg)

static const lpo_driver *const v = &lpo_driver_opencl;
static lpo_error err;

static lpo_device *open_first(void) {
    char why[256];
    if (!lpo_opencl_describe(why, sizeof why)) cr_skip_test("no OpenCL: %s", why);
    lpo_device *d;
    MUST(v->open(&d, 0, &err));
    return d;
}

/* y = a + a for four floats: does the device compute? */
static void check_alive(lpo_device *d) {
    float a[4] = {1, 2, 3, 4}, y[4];
    lpo_buffer *b;
    MUST(v->alloc(&b, d, 1024, &err));
    MUST(v->upload(b, 256, a, sizeof a, &err));
    lpo_step s = {.op = LPO_OP_ADD,
                  .arg = {{b, 512, LPO_F32, 1, {4}}, {b, 256, LPO_F32, 1, {4}}, {b, 256, LPO_F32, 1, {4}}}};
    MUST(v->submit(d, &s, &err));
    MUST(v->wait(d, &err));
    MUST(v->download(y, b, 512, sizeof y, &err));
    v->release(b);
    for (int i = 0; i < 4; i++) cr_assert_eq(y[i], 2 * a[i]);
}

/* A petabyte is refused with the numbers and the remedy. */
Test(opencl_driver, out_of_memory) {
    lpo_device *d = open_first();
    lpo_buffer *b;
    cr_assert_eq(v->alloc(&b, d, (size_t)1 << 50, &err), LPO_ENOMEM);
    cr_assert_null(b);
    cr_expect(strstr(err.msg, "MiB more wanted") && strstr(err.msg, "smaller batch"), "%s", err.msg);
    check_alive(d);
    v->close(d);
}

/* A step that repeats allocates nothing: a released buffer of a fitting size comes back. */
Test(opencl_driver, released_memory_is_reused) {
    lpo_device *d = open_first();
    lpo_buffer *a, *b;
    MUST(v->alloc(&a, d, 1000, &err));
    v->release(a);
    MUST(v->alloc(&b, d, 900, &err));
    cr_expect_eq((void *)a, (void *)b);
    cr_expect_eq(lpo_buffer_bytes(b), 900);
    v->release(b);
    v->close(d);
}

/* An id outside the table is reported when waited for, reads and writes nothing outside, and leaves the
 * device usable. */
Test(opencl_driver, bad_ids) {
    lpo_device *d = open_first();
    for (int op = 0; op < 2; op++) {
        const int32_t ids[2] = {0, 7};
        lpo_buffer *b;
        MUST(v->alloc(&b, d, 4096, &err));
        MUST(v->upload(b, 2048, ids, sizeof ids, &err));
        lpo_step s = {.op = op ? LPO_OP_EMBED_BWD : LPO_OP_EMBED,
                      .arg = {{b, 0, LPO_F32, 2, {op ? 7 : 2, 4}},
                              {b, 512, LPO_F32, 2, {op ? 2 : 7, 4}},
                              {b, 2048, LPO_I32, 1, {2}}}};
        MUST(v->submit(d, &s, &err));
        cr_assert_eq(v->wait(d, &err), LPO_EINVAL);
        cr_expect(strstr(err.msg, "not in the table"), "%s", err.msg);
        MUST(v->wait(d, &err));
        v->release(b);
    }
    check_alive(d);
    v->close(d);
}

/* A tensor past the end of its buffer is refused before anything runs. */
Test(opencl_driver, out_of_bounds) {
    lpo_device *d = open_first();
    lpo_buffer *b;
    MUST(v->alloc(&b, d, 64, &err));
    lpo_step s = {.op = LPO_OP_FILL, .arg = {{b, 32, LPO_F32, 1, {9}}}};
    cr_assert_eq(v->submit(d, &s, &err), LPO_EINVAL);
    v->release(b);
    v->close(d);
}

/* Doubles are not this device's: it says so, and another of the placement gets the step. */
Test(opencl_driver, supports_says_no) {
    lpo_device *d = open_first();
    lpo_buffer_head probe = {.device = d};
    lpo_buffer *b = (lpo_buffer *)&probe;
    lpo_step s = {.op = LPO_OP_ADD,
                  .arg = {{b, 0, LPO_F64, 1, {4}}, {b, 0, LPO_F64, 1, {4}}, {b, 0, LPO_F64, 1, {4}}}};
    cr_expect_not(v->supports(d, &s));
    for (int i = 0; i < 3; i++) s.arg[i].dtype = LPO_BF16;
    cr_expect(v->supports(d, &s));
    v->close(d);
}

/* The first file of the cache folder, malloc'd path. */
static char *cache_entry(const char *dir) {
    DIR *h = opendir(dir);
    char *path = NULL;
    for (struct dirent *e; h && !path && (e = readdir(h));)
        if (e->d_name[0] != '.') path = lpo_path_join(dir, e->d_name);
    if (h) closedir(h);
    return path;
}

/* Programs are cached; an entry with a flipped bit, cut short or empty is built again and replaced. */
Test(opencl_driver, damaged_cache) {
    char dir[] = "/tmp/leanpo-opencl-XXXXXX", sub[64];
    cr_assert(mkdtemp(dir));
    snprintf(sub, sizeof sub, "%s/leanpo", dir);
    setenv("XDG_CACHE_HOME", dir, 1);
    lpo_device *d = open_first();
    check_alive(d);
    v->close(d);
    char *path = cache_entry(sub), *whole, *now;
    cr_assert(path && strstr(path, "/add-"), "no entry");
    size_t size, now_size;
    MUST(lpo_file_read(&whole, &size, path, 1 << 26, &err));
    for (int damage = 0; damage < 3; damage++) {
        char *bad = malloc(size);
        memcpy(bad, whole, size);
        bad[size / 2] ^= 1;
        MUST(lpo_file_write(path, bad, damage == 0 ? size : damage == 1 ? size / 3 : 0, &err));
        free(bad);
        d = open_first();
        check_alive(d);
        v->close(d);
        MUST(lpo_file_read(&now, &now_size, path, 1 << 26, &err));
        cr_expect_gt(now_size, size / 2, "damage %d: the entry was not replaced", damage);
        free(now);
    }
    free(whole);
    free(path);
    MUST(lpo_dir_remove(dir, &err));
}

#ifdef __has_include
#if __has_include(<CL/cl.h>)
#include "device/opencl/api.h"

/* PoCL leaves its compiler's memory behind when a kernel does not compile. */
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) {
    return "leak:libpocl\nleak:libLLVM\nleak:libclang\n";
}

/* A kernel that does not compile is an error with the compiler's words. */
Test(opencl_driver, kernel_that_does_not_compile) {
    lpo_device *d = open_first();
    const opencl_set *set = opencl_devices();
    cl_int rc;
    cl_context c = set->cl.clCreateContext(NULL, 1, &set->device[0].id, NULL, NULL, &rc);
    cr_assert_eq(rc, 0);
    static const char text[] = "KERNEL(64, broken)(TENSOR(y)) { not_a_function(y_at); int }";
    const lpo_gpu_source bad = {"broken", text, sizeof text - 1};
    cl_program p;
    cr_assert_eq(opencl_program(&p, &set->cl, c, &set->device[0], &bad, &err), LPO_EDEVICE);
    cr_expect(strstr(err.msg, "broken.cl does not build") && strstr(err.msg, "error"), "%s", err.msg);
    set->cl.clReleaseContext(c);
    check_alive(d);
    v->close(d);
}
#endif
#endif
