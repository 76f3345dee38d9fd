/* SPDX-License-Identifier: Apache-2.0 */
/* program.c -- a program of kernels/gpu, compiled once per machine: the binary is kept in
 * $XDG_CACHE_HOME/leanpo (or ~/.cache/leanpo) under a name made of the hash of the source, the options and
 * the versions of device and driver. Layout: "LPOCLB1\n" | XXH64 of the rest, 8 bytes | the binary. Whatever
 * is wrong with an entry, the source is compiled and the entry written anew; whatever is wrong with the
 * folder, training goes on without it. */
#ifdef LEANPO_OPENCL_HEADERS
#include "device/opencl/api.h"

#include "base/file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { HEAD = 16, MAX_BINARY = 64 << 20 };
static const char MAGIC[] = "LPOCLB1\n";

/* A CPU runs the items of a group one after the other: dialect.h has something to say to it. */
static const char *options_of(const opencl_found *d) {
    return d->cpu ? "-cl-std=CL1.2 -DLPO_CPU" : "-cl-std=CL1.2";
}

/* malloc'd path of the entry, its folder made; NULL: no cache. */
static char *entry_path(const opencl_found *d, const lpo_gpu_source *source) {
    const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char dir[3800], name[96];
    if (base && base[0] == '/')
        snprintf(dir, sizeof dir, "%.3700s/leanpo", base);
    else if (home && home[0] == '/')
        snprintf(dir, sizeof dir, "%.3700s/.cache/leanpo", home);
    else
        return NULL;
    if (lpo_dir_create(dir, NULL)) return NULL;
    XXH64_state_t *h = XXH64_createState();
    if (!h) return NULL;
    XXH64_reset(h, 0);
    XXH64_update(h, lpo_gpu_dialect.text, lpo_gpu_dialect.size_bytes);
    XXH64_update(h, source->text, source->size_bytes);
    const char *const words[] = {options_of(d), d->name, d->platform, d->version};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) XXH64_update(h, words[i], strlen(words[i]) + 1);
    snprintf(name, sizeof name, "%s-%016" PRIx64 ".bin", source->name, (uint64_t)XXH64_digest(h));
    XXH64_freeState(h);
    return lpo_path_join(dir, name);
}

static cl_program from_cache(const opencl_api *cl, cl_context context, const opencl_found *d,
                             const char *path) {
    char *data;
    size_t size;
    if (!path || !lpo_path_exists(path) || lpo_file_read(&data, &size, path, MAX_BINARY, NULL)) return NULL;
    cl_program p = NULL;
    uint64_t hash;
    if (size > HEAD && !memcmp(data, MAGIC, 8)) {
        memcpy(&hash, data + 8, sizeof hash);
        const unsigned char *binary = (const unsigned char *)data + HEAD;
        size_t bytes = size - HEAD;
        cl_int loaded, rc;
        if (hash == XXH64(binary, bytes, 0)) {
            p = cl->clCreateProgramWithBinary(context, 1, &d->id, &bytes, &binary, &loaded, &rc);
            if (p && (rc || loaded || cl->clBuildProgram(p, 1, &d->id, options_of(d), NULL, NULL))) {
                cl->clReleaseProgram(p);
                p = NULL;
            }
        }
    }
    free(data);
    return p;
}

static void to_cache(const opencl_api *cl, cl_program p, const char *path) {
    size_t bytes = 0;
    if (!path || cl->clGetProgramInfo(p, CL_PROGRAM_BINARY_SIZES, sizeof bytes, &bytes, NULL) || bytes == 0 ||
        bytes > MAX_BINARY)
        return;
    char *data = malloc(HEAD + bytes);
    if (!data) return;
    unsigned char *binary = (unsigned char *)data + HEAD;
    if (!cl->clGetProgramInfo(p, CL_PROGRAM_BINARIES, sizeof binary, &binary, NULL)) {
        uint64_t hash = XXH64(binary, bytes, 0);
        memcpy(data, MAGIC, 8);
        memcpy(data + 8, &hash, sizeof hash);
        if (lpo_file_write(path, data, HEAD + bytes, NULL))
            lpo_log(LPO_LOG_DEBUG, "opencl: %s not written", path);
    }
    free(data);
}

/* The build log's first lines, on one. */
static void build_log(char *out, size_t size_bytes, const opencl_api *cl, cl_program p, cl_device_id d) {
    char *log = NULL;
    size_t n = 0;
    out[0] = 0;
    if (cl->clGetProgramBuildInfo(p, d, CL_PROGRAM_BUILD_LOG, 0, NULL, &n) || !(log = calloc(1, n + 1)))
        return;
    cl->clGetProgramBuildInfo(p, d, CL_PROGRAM_BUILD_LOG, n, log, NULL);
    size_t used = 0;
    for (const char *c = log + strspn(log, " \n"); *c && used + 1 < size_bytes; c++)
        out[used++] = *c == '\n' ? '|' : *c;
    out[used] = 0;
    free(log);
}

lpo_status opencl_program(cl_program *out, const opencl_api *cl, cl_context context,
                          const opencl_found *device, const lpo_gpu_source *source, lpo_error *err) {
    char *path = entry_path(device, source);
    *out = from_cache(cl, context, device, path);
    if (*out) {
        free(path);
        return LPO_OK;
    }
    const char *part[] = {lpo_gpu_dialect.text, source->text};
    const size_t bytes[] = {lpo_gpu_dialect.size_bytes, source->size_bytes};
    cl_int rc;
    *out = cl->clCreateProgramWithSource(context, 2, part, bytes, &rc);
    if (*out) rc = cl->clBuildProgram(*out, 1, &device->id, options_of(device), NULL, NULL);
    if (!rc) {
        to_cache(cl, *out, path);
        free(path);
        return LPO_OK;
    }
    char log[280] = "";
    if (*out) {
        build_log(log, sizeof log, cl, *out, device->id);
        cl->clReleaseProgram(*out);
    }
    *out = NULL;
    free(path);
    return lpo_fail(err, LPO_EDEVICE, "opencl: %s.cl does not build on %.80s: %s (%d): %s", source->name,
                    device->name, opencl_error(rc), rc, log);
}

#else
typedef int lpo_opencl_program_is_not_built;
#endif
