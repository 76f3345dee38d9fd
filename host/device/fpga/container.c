/* SPDX-License-Identifier: Apache-2.0 */
/* container.c -- which container a card gets, and that it is one of ours: XRT itself would crash on a damaged
 * file and would set the wrong registers of a container built from another abi.def. */
#include "device/fpga/link.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static lpo_status choose(char path[4200], const char *xclbin, lpo_error *err) {
    const char *set = getenv("LEANPO_XCLBIN");
    if (!xclbin || !*xclbin) xclbin = set && *set ? set : NULL;
    if (xclbin) {
        if ((size_t)snprintf(path, 4200, "%s", xclbin) < 4200) return LPO_OK;
        return lpo_fail(err, LPO_ELIMIT, "%.200s...: too long for a container's path", xclbin);
    }
    char dir[4096];
    lpo_status st = lpo_card_dir(dir, sizeof dir, err);
    if (st) return st;
    snprintf(path, 4200, "%s/leanpo-kernels.xclbin", dir);
    if (!access(path, F_OK)) return LPO_OK;
    lpo_card_variable v[LPO_CARD_VARIABLES]; /* a build without the card has no container: say the cause */
    return lpo_card_environment(v, err);
}

static lpo_status check_kernel(const lpo_hls_kernel *want, const lpo_xclbin_kernel *have, const char *path,
                               lpo_error *err) {
    const char *advice = "it was built from other sources; build it again, see docs/fpga.md";
    if (have->n_args != want->n_args)
        return lpo_fail(err, LPO_EFORMAT, "%.200s: kernel %s has %d arguments and should have %d (%s)", path,
                        want->name, have->n_args, want->n_args, advice);
    for (int i = 0; i < have->n_args; i++) {
        const lpo_xclbin_arg *h = &have->args[i];
        if (h->id >= (unsigned)want->n_args)
            return lpo_fail(err, LPO_EFORMAT, "%.200s: kernel %s has an argument number %u (%s)", path,
                            want->name, h->id, advice);
        const lpo_hls_arg *w = &want->args[h->id];
        if (strcmp(h->name, w->name) || h->offset != w->reg_offset || h->size != w->size_bytes ||
            (h->qualifier == 0) != (w->kind == HLS_SCALAR))
            return lpo_fail(err, LPO_EFORMAT,
                            "%.200s: argument %u of kernel %s is %s at 0x%llx and should be %s at 0x%x (%s)",
                            path, h->id, want->name, h->name, (unsigned long long)h->offset, w->name,
                            w->reg_offset, advice);
    }
    return LPO_OK;
}

lpo_status fpga_container_open(lpo_xclbin **out, char **path, const char *xclbin, lpo_error *err) {
    char at[4200];
    lpo_status st = choose(at, xclbin, err);
    if (!st) st = lpo_xclbin_open(out, at, err);
    if (st) return st;
    if ((*out)->mode == LPO_XCLBIN_SW_EMU) st = lpo_xclbin_check_card(*out, at, err);
    for (int i = 0; !st && i < (*out)->n_kernels; i++)
        for (int k = 0; !st && k < LPO_HLS_N_KERNELS; k++)
            if (!strcmp((*out)->kernels[i].name, lpo_hls_kernels[k].name))
                st = check_kernel(&lpo_hls_kernels[k], &(*out)->kernels[i], at, err);
    if (!st && !(*path = strdup(at))) st = lpo_fail(err, LPO_ENOMEM, "out of memory");
    return st;
}
