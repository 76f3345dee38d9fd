/* SPDX-License-Identifier: Apache-2.0 */
/* vendors.c -- keep XRT's OpenCL away from the loader. The loader opens every library that the vendors'
 * folder names, and XRT's ends the process (std::terminate) where its environment is not just so; it also
 * offers only cards, which take no source. So while the platforms are first listed, and only if the folder
 * names XRT's, the loader is shown a copy of the folder without it. */
#ifdef LEANPO_OPENCL_HEADERS
#include "device/opencl/vendors.h"

#include "base/file.h"
#include "device/opencl/api.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_icd(const char *name) {
    size_t n = strlen(name);
    return n > 4 && !strcmp(name + n - 4, ".icd");
}

static bool names_xrt(const char *path) {
    char *text;
    size_t size;
    if (lpo_file_read(&text, &size, path, 4096, NULL)) return false;
    bool yes = strstr(text, "xilinx") != NULL;
    free(text);
    return yes;
}

/* Copies of all files of `from` but XRT's; false when a copy failed. */
static bool copy_others(const char *from, const char *to) {
    DIR *d = opendir(from);
    bool ok = d != NULL;
    for (struct dirent *e; ok && (e = readdir(d));) {
        if (!is_icd(e->d_name)) continue;
        char *src = lpo_path_join(from, e->d_name), *dst = lpo_path_join(to, e->d_name), *text = NULL;
        size_t size;
        if (src && dst && !names_xrt(src) && !lpo_file_read(&text, &size, src, 4096, NULL))
            ok = !lpo_file_write(dst, text, size, NULL);
        free(text);
        free(src);
        free(dst);
    }
    if (d) closedir(d);
    return ok;
}

static bool folder_names_xrt(const char *dir) {
    DIR *d = opendir(dir);
    bool found = false;
    for (struct dirent *e; d && !found && (e = readdir(d));) {
        if (!is_icd(e->d_name)) continue;
        char *path = lpo_path_join(dir, e->d_name);
        found = path && names_xrt(path);
        free(path);
    }
    if (d) closedir(d);
    return found;
}

bool opencl_vendors_hide(opencl_vendors *v) {
    *v = (opencl_vendors){0};
    const char *set = getenv("OCL_ICD_VENDORS"), *at = set ? set : "/etc/OpenCL/vendors";
    if (is_icd(at)) return !names_xrt(at);
    if (!folder_names_xrt(at)) return true;
    const char *tmp = getenv("TMPDIR");
    snprintf(v->dir, sizeof v->dir, "%.200s/leanpo-icd-XXXXXX", tmp && tmp[0] == '/' ? tmp : "/tmp");
    if (!mkdtemp(v->dir)) {
        v->dir[0] = 0;
        return false;
    }
    v->was_set = set != NULL;
    v->before = set ? strdup(set) : NULL;
    return copy_others(at, v->dir) && (!set || v->before) && !setenv("OCL_ICD_VENDORS", v->dir, 1);
}

void opencl_vendors_restore(opencl_vendors *v) {
    if (!v->dir[0]) return;
    if (v->before)
        setenv("OCL_ICD_VENDORS", v->before, 1);
    else if (!v->was_set)
        unsetenv("OCL_ICD_VENDORS");
    free(v->before);
    lpo_dir_remove(v->dir, NULL);
}

#else
typedef int lpo_opencl_vendors_are_not_built;
#endif
