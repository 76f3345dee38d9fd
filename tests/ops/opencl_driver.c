/* SPDX-License-Identifier: Apache-2.0 */
/* opencl_driver.c -- what the OpenCL driver alone does when things go wrong: a damaged program cache, a
 * kernel that does not compile. After each the device still works. */
#include "base/file.h"
#include "gpu_open.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    lpo_device *d = gpu_open();
    gpu_check_alive(d);
    lpo_device_close(d);
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
        d = gpu_open();
        gpu_check_alive(d);
        lpo_device_close(d);
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

/* A kernel that does not compile is an error with the compiler's words. */
Test(opencl_driver, kernel_that_does_not_compile) {
    lpo_device *d = gpu_open();
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
    gpu_check_alive(d);
    lpo_device_close(d);
}
#endif
#endif
