/* SPDX-License-Identifier: Apache-2.0 */
/* card_dir.c -- where the software card is: an installed LeanPO carries it beside its program, a build in its
 * tree; and what XRT must be told to find it. */
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

lpo_status lpo_card_environment(lpo_card_variable out[LPO_CARD_VARIABLES], lpo_error *err) {
    static const struct {
        const char *name, *file;
    } files[] = {{"XILINX_XRT", "xrt"},
                 {"EMCONFIG_PATH", "env"},
                 {"OCL_ICD_VENDORS", "env/xilinx.icd"},
                 {"XRT_INI_PATH", "env/xrt.ini"}};
    enum { N_FILES = sizeof files / sizeof *files };
    char dir[4096], shim[4200];
    lpo_status st = lpo_card_dir(dir, sizeof dir, err);
    if (st) return st;
    snprintf(shim, sizeof shim, "%s/xrt/lib/libxrt_swemu.so.2", dir);
    if (!lpo_path_exists(shim))
        return lpo_fail(err, LPO_ENOTFOUND,
                        "%.300s is missing: this build found no XRT (scripts/packages install card, then "
                        "build again)",
                        shim);
    for (int i = 0; i < N_FILES; i++) {
        out[i] = (lpo_card_variable){.name = files[i].name, .replaces = 1};
        snprintf(out[i].value, sizeof out[i].value, "%s/%s", dir, files[i].file);
    }
    out[N_FILES] = (lpo_card_variable){"XCL_EMULATION_MODE", "sw_emu", 1};
    out[N_FILES + 1] = (lpo_card_variable){.name = "USER"}; /* XRT's emulation dereferences it */
    snprintf(out[N_FILES + 1].value, sizeof out->value, "%ld", (long)getuid());
    return LPO_OK;
}
