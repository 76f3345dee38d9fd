/* SPDX-License-Identifier: Apache-2.0 */
/* card_dir.c -- where the software card is: an installed LeanPO carries it beside its program, a build in its
 * tree. */
#include "base/file.h"
#include "leanpo/xclbin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int has_card(const char *dir) {
    char path[4200];
    snprintf(path, sizeof path, "%s/include/card_kernel.h", dir);
    return lpo_path_exists(path);
}

lpo_status lpo_card_dir(char *path, size_t size, lpo_error *err) {
    const char *set = getenv("LEANPO_SIM");
    char exe[4096];
    if (set && *set) {
        if (has_card(set) && (size_t)snprintf(path, size, "%s", set) < size) return LPO_OK;
        return lpo_fail(err, LPO_ENOTFOUND,
                        "LEANPO_SIM=%.300s: no software card there (include/card_kernel.h is missing)", set);
    }
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n > 0) {
        exe[n] = 0;
        *strrchr(exe, '/') = 0;
        if ((size_t)snprintf(path, size, "%s/../" LEANPO_SIM_INSTALLED, exe) < size && has_card(path))
            return LPO_OK;
    }
    if ((size_t)snprintf(path, size, "%s", LEANPO_SIM_BUILD) < size && has_card(path)) return LPO_OK;
    return lpo_fail(err, LPO_ENOTFOUND,
                    "the software card was not installed with this program; set LEANPO_SIM to its folder");
}
