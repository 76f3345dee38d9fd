/* SPDX-License-Identifier: Apache-2.0 */
/* hls_abi.c -- the argument table, its registers and the wrappers given to v++ say the same. */
#include "hls/abi.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The offsets the tools assign, worked out by hand: pointers take 12 bytes, 32-bit scalars 8. */
_Static_assert(HLS_REG_preprocess_plane0 == 0x10, "the first argument");
_Static_assert(HLS_REG_preprocess_plane1 == 0x1c, "after a pointer");
_Static_assert(HLS_REG_preprocess_pixfmt == 0x10 + 12 * 0xc, "after twelve pointers");
_Static_assert(HLS_REG_preprocess_matrix == 0x10 + 12 * 0xc + 8, "after a 32-bit scalar");
_Static_assert(HLS_REG_preprocess_n_slots + 8 == HLS_REG_preprocess_end, "the end");
_Static_assert(HLS_REG_reward_reduce_tau == 0x10 + 9 * 0xc + 7 * 8 + 0xc, "after a 64-bit scalar");
_Static_assert(HLS_ARG_preprocess_pixfmt == 12, "the index");

/* Truth: in every row registers follow each other by the rule, sizes fit them, and struct members do not
 * overlap. */
Test(hls_abi, registers_follow_the_rule) {
    for (const lpo_hls_kernel *k = lpo_hls_kernels; k->name; k++) {
        uint32_t reg = 0x10;
        size_t member = 0;
        for (int i = 0; i < k->n_args; i++) {
            const lpo_hls_arg *a = &k->args[i];
            int wide = a->kind == HLS_GLOBAL || !strcmp(a->type, "double");
            cr_expect_eq(a->reg_offset, reg, "%s.%s", k->name, a->name);
            cr_expect_eq(a->size_bytes, wide ? 8u : 4u, "%s.%s", k->name, a->name);
            cr_expect_geq(a->struct_offset, member, "%s.%s", k->name, a->name);
            reg += wide ? 0xc : 8;
            member = a->struct_offset + a->size_bytes;
        }
        cr_expect_leq(member, k->args_bytes);
    }
}

static char *load(const char *kernel) {
    char path[512], *text = calloc(1, 1 << 16);
    snprintf(path, sizeof path, "%s/%s/%s_top.cpp", HLS_DIR, kernel, kernel);
    FILE *f = fopen(path, "r");
    cr_assert(f && text, "%s", path);
    size_t n = fread(text, 1, (1 << 16) - 1, f);
    cr_assert_gt(n, 0);
    fclose(f);
    return text;
}

/* Truth: the wrapper names every argument in the table's order, with the table's type, and wires each pointer
 * to the table's bundle. (Two lists of one fact, since pragmas take no macros: so a test holds them
 * together.) */
Test(hls_abi, wrappers_agree) {
    for (const lpo_hls_kernel *k = lpo_hls_kernels; k->name; k++) {
        char *text = load(k->name), want[200];
        const char *at = strstr(text, "extern \"C\"");
        int ports = 0;
        for (int i = 0; i < k->n_args; i++) {
            const lpo_hls_arg *a = &k->args[i];
            int global = a->kind == HLS_GLOBAL;
            snprintf(want, sizeof want, "%s%s %s%s%s", global && a->dir == HLS_IN ? "const " : "", a->type,
                     global ? "*" : "", a->name, i + 1 < k->n_args ? "," : ") {");
            at = at ? strstr(at, want) : NULL;
            cr_assert(at, "%s_top.cpp: expected \"%s\" as argument %d", k->name, want, i);
            if (!global) continue;
            snprintf(want, sizeof want, "m_axi port = %s offset = slave bundle = %s ", a->name, a->bundle);
            cr_expect(strstr(text, want), "%s_top.cpp: no \"%s\"", k->name, want);
            ports++;
        }
        for (const char *p = text; (p = strstr(p, "m_axi port")); p++) ports--;
        cr_expect_eq(ports, 0, "%s_top.cpp: ports of no argument", k->name);
        free(text);
    }
}
