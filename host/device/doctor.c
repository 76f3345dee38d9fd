/* SPDX-License-Identifier: Apache-2.0 */
/* doctor.c -- see doctor.h. Everything optional is looked for with dlopen, as the drivers themselves will. */
#include "leanpo/doctor.h"
#include "device/cuda/cuda.h"
#include "device/opencl/opencl.h"
#include "doctor_card.h"

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

void lpo_doctor_library(lpo_finding *f, const char *name, const char *const *sonames, const char *fix) {
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

static bool is_icd(const char *name) {
    size_t len = strlen(name);
    return len > 4 && !strcmp(name + len - 4, ".icd");
}

/* OCL_ICD_VENDORS names a folder of .icd files, or one such file. */
static void opencl_icds(lpo_finding *f) {
    const char *set = getenv("OCL_ICD_VENDORS"), *at = set ? set : "/etc/OpenCL/vendors";
    DIR *d = opendir(at);
    int n = !d && is_icd(at) && access(at, R_OK) == 0;
    for (struct dirent *e; d && (e = readdir(d));) n += is_icd(e->d_name);
    if (d) closedir(d);
    f->name = "OpenCL platforms";
    f->state = n ? LPO_FOUND : set ? LPO_BROKEN : LPO_ABSENT;
    snprintf(f->detail, sizeof f->detail, "%d ICD file%s in %.200s", n, n == 1 ? "" : "s", at);
    f->fix = n     ? NULL
             : set ? "unset OCL_ICD_VENDORS, or eval \"$(leanpo devices --xrt-env)\""
                   : "apt-get install pocl-opencl-icd (CPU), or your GPU vendor's OpenCL package";
}

/* What the driver itself finds: it needs a compiler, double precision, and a build with OpenCL's headers. */
static void opencl_devices(lpo_finding *f) {
    f->name = "OpenCL devices";
    f->state = lpo_opencl_describe(f->detail, sizeof f->detail) ? LPO_FOUND : LPO_ABSENT;
    f->fix = f->state == LPO_FOUND ? NULL : "scripts/packages install opencl (PoCL: OpenCL on the CPU)";
}

/* What the driver itself finds: a GPU that the kernels of this build run on. */
static void cuda_devices(lpo_finding *f) {
    f->name = "CUDA devices";
    f->state = lpo_cuda_describe(f->detail, sizeof f->detail) ? LPO_FOUND : LPO_ABSENT;
    f->fix = f->state == LPO_FOUND ? NULL : "the backbone runs on the CPU, or on an OpenCL device";
}

int lpo_doctor(lpo_finding *out, int max) {
    lpo_finding all[6 + LPO_DOCTOR_CARD_FINDINGS];
    int n = 0;
    memset(all, 0, sizeof all);
    cpu_isa(&all[n++]);
    lpo_doctor_library(&all[n++], "CUDA driver", (const char *const[]){"libcuda.so.1", NULL},
                       "install the NVIDIA driver; without it the backbone runs on the CPU");
    cuda_devices(&all[n++]);
    lpo_doctor_library(&all[n++], "OpenCL loader", (const char *const[]){"libOpenCL.so.1", NULL},
                       "apt-get install ocl-icd-libopencl1");
    opencl_icds(&all[n++]);
    opencl_devices(&all[n++]);
    lpo_doctor_card(&all[n], "");
    n += LPO_DOCTOR_CARD_FINDINGS;
    for (int i = 0; i < n && i < max; i++) out[i] = all[i];
    return n;
}
