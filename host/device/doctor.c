/* SPDX-License-Identifier: Apache-2.0 */
/* doctor.c -- see doctor.h. Everything optional is looked for with dlopen, as the drivers themselves will. */
#include "leanpo/doctor.h"

#include <dirent.h>
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void cpu_isa(lpo_finding *f) {
    f->name = "CPU";
    f->state = LPO_FOUND;
#if defined(__x86_64__)
    const char *level = __builtin_cpu_supports("avx512bw") ? "AVX-512"
                        : __builtin_cpu_supports("avx2")   ? "AVX2"
                                                           : "SSE2";
    snprintf(f->detail, sizeof f->detail, "%ld threads, %s kernels", sysconf(_SC_NPROCESSORS_ONLN), level);
#else
    snprintf(f->detail, sizeof f->detail, "%ld threads, portable kernels", sysconf(_SC_NPROCESSORS_ONLN));
#endif
}

static void library(lpo_finding *f, const char *name, const char *const *sonames, const char *fix) {
    f->name = name;
    f->state = LPO_ABSENT;
    f->fix = fix;
    for (int i = 0; sonames[i]; i++) {
        void *h = dlopen(sonames[i], RTLD_LAZY | RTLD_LOCAL);
        if (!h) continue;
        f->state = LPO_FOUND;
        f->fix = NULL;
        snprintf(f->detail, sizeof f->detail, "%s", sonames[i]);
        dlclose(h);
        return;
    }
    snprintf(f->detail, sizeof f->detail, "%s not found", sonames[0]);
}

static void opencl_icds(lpo_finding *f) {
    const char *dir = getenv("OCL_ICD_VENDORS");
    if (!dir) dir = "/etc/OpenCL/vendors";
    DIR *d = opendir(dir);
    int n = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        size_t len = strlen(e->d_name);
        n += len > 4 && !strcmp(e->d_name + len - 4, ".icd");
    }
    if (d) closedir(d);
    f->name = "OpenCL platforms";
    f->state = n ? LPO_FOUND : LPO_ABSENT;
    snprintf(f->detail, sizeof f->detail, "%d ICD files in %s", n, dir);
    f->fix = n ? NULL : "apt-get install pocl-opencl-icd (CPU), or your GPU vendor's OpenCL package";
}

static void xrt_env(lpo_finding *f) {
    const char *xrt = getenv("XILINX_XRT");
    f->name = "XILINX_XRT";
    f->state = xrt ? LPO_FOUND : LPO_ABSENT;
    snprintf(f->detail, sizeof f->detail, "%s", xrt ? xrt : "not set: XRT programs end at once without it");
    f->fix = xrt ? NULL : "export XILINX_XRT=/opt/xilinx/xrt (or where XRT is installed)";
}

int lpo_doctor(lpo_finding *out, int max) {
    lpo_finding all[8];
    int n = 0;
    memset(all, 0, sizeof all);
    cpu_isa(&all[n++]);
    library(&all[n++], "CUDA driver", (const char *const[]){"libcuda.so.1", NULL},
            "install the NVIDIA driver; without it the backbone runs on the CPU");
    library(&all[n++], "OpenCL loader", (const char *const[]){"libOpenCL.so.1", NULL},
            "apt-get install ocl-icd-libopencl1");
    opencl_icds(&all[n++]);
    library(&all[n++], "XRT", (const char *const[]){"libxrt_coreutil.so.2", NULL},
            "apt-get install libxrt-coreutil (or AMD's XRT package)");
    xrt_env(&all[n++]);
    for (int i = 0; i < n && i < max; i++) out[i] = all[i];
    return n;
}
