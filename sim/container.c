/* SPDX-License-Identifier: Apache-2.0 */
/* container.c -- a program of the build: our kernels (hls/) as the container the software card loads.
 * Signatures come from hls/abi.def, and each core is compiled under its kernel's own name, as K_top.cpp names
 * it for hardware. Results have bank 1 to themselves, so a host that assumes the first bank fails here as it
 * would on a card. usage: leanpo-container SOURCE_TREE OUT.xclbin */
#include "hls/abi.h"
#include "leanpo/xclbin.h"

#include <stdio.h>
#include <stdlib.h>

enum { TEXT = 8192 };

static void put_signature(char *out, const lpo_hls_kernel *k) {
    int n = snprintf(out, TEXT, "void %s(", k->name);
    for (int a = 0; a < k->n_args; a++) {
        const lpo_hls_arg *g = &k->args[a];
        n += snprintf(out + n, (size_t)(TEXT - n), "%s%s%s %s%s", a ? ", " : "",
                      g->kind == HLS_GLOBAL && g->dir == HLS_IN ? "const " : "", g->type,
                      g->kind == HLS_GLOBAL ? "*" : "", g->name);
    }
    snprintf(out + n, (size_t)(TEXT - n), ")");
}

int main(int argc, char **argv) {
    enum { MAX_KERNELS = 16, MAX_BANKS = 64 };
    static char signature[MAX_KERNELS][TEXT], source[MAX_KERNELS][4096], bank[MAX_BANKS][96], cflags[2048];
    const char *signatures[MAX_KERNELS], *sources[MAX_KERNELS], *banks[MAX_BANKS];
    lpo_xclbin_build_options o = lpo_xclbin_build_default();
    lpo_error err;
    size_t used = (size_t)snprintf(cflags, sizeof cflags, "-std=c11 -ffp-contract=off");
    if (argc != 3) return fprintf(stderr, "usage: leanpo-container SOURCE_TREE OUT.xclbin\n"), 2;
    for (int k = 0; k < MAX_KERNELS && lpo_hls_kernels[k].name; k++, o.n_kernels++) {
        const lpo_hls_kernel *row = &lpo_hls_kernels[k];
        put_signature(signature[k], row);
        snprintf(source[k], sizeof source[k], "%s/hls/%s/%s.c", argv[1], row->name, row->name);
        used +=
            (size_t)snprintf(cflags + used, sizeof cflags - used, " -Dlpo_hls_%s=%s", row->name, row->name);
        signatures[k] = signature[k];
        sources[k] = source[k];
        for (int a = 0; a < row->n_args && o.n_banks < MAX_BANKS; a++) {
            if (row->args[a].dir != HLS_OUT) continue;
            snprintf(bank[o.n_banks], sizeof bank[0], "%s.%s=1", row->name, row->args[a].name);
            banks[o.n_banks] = bank[o.n_banks];
            o.n_banks++;
        }
    }
    o.sources = sources;
    o.n_sources = o.n_kernels;
    o.kernels = signatures;
    o.banks = banks;
    o.kernel_cus = (const char *const[]){"preprocess=2"};
    o.n_kernel_cus = 1;
    o.include_dirs = (const char *const[]){argv[1]};
    o.n_include_dirs = 1;
    o.cflags = cflags;
    o.out = argv[2];
    if (!lpo_xclbin_build(&o, &err)) return 0;
    fprintf(stderr, "leanpo-container: %s\n", err.msg);
    return 1;
}
