/* SPDX-License-Identifier: Apache-2.0 */
/* xclbin_damage.c -- a damaged container is refused or read, never a crash: every truncation, every single
 * bit flip, thousands of coarser wounds. The sanitized build runs the same. */
#include "base/rng.h"
#include "leanpo/xclbin.h"
#include "xclbin/format.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char xml[] =
    "<?xml version=\"1.0\"?>\n<project name=\"p\"><!-- a comment --><platform><device><core>\n"
    "<kernel name=\"vadd\" language=\"c\"><port name=\"M\" mode=\"master\"/>\n"
    "<arg name=\"a\" addressQualifier=\"1\" id=\"0\" size=\"0x8\" offset=\"0x10\" type=\"int*\"/>\n"
    "<arg name=\"n\" addressQualifier=\"0\" id=\"1\" size=\"0x4\" offset=\"0x1c\" type=\"int\"/>\n"
    "<instance name=\"vadd_1\"/></kernel></core></device></platform></project>\n";

static uint8_t *whole;
static size_t size;

/* A container of all the tables that are read, written and read back. */
static void setup(void) {
    uint8_t so[64] = "\177ELF", memory[XB_MEM_HEAD + 2 * XB_MEM] = {2}, layout[XB_IP_HEAD + XB_IP] = {1},
            connections[XB_CON_HEAD + XB_CON] = {1}, clocks[XB_CLOCK_HEAD + XB_CLOCK] = {1};
    for (int i = 0; i < 2; i++) {
        uint8_t *m = memory + XB_MEM_HEAD + i * XB_MEM;
        m[0] = m[1] = 1;
        m[10] = 16; /* KiB */
        sprintf((char *)m + 24, "bank%d", i);
    }
    layout[XB_IP_HEAD] = XB_IP_KERNEL;
    strcpy((char *)layout + XB_IP_HEAD + 16, "vadd:vadd_1");
    clocks[XB_CLOCK_HEAD] = 44, clocks[XB_CLOCK_HEAD + 1] = 1, clocks[XB_CLOCK_HEAD + 2] = 1;
    strcpy((char *)clocks + XB_CLOCK_HEAD + 8, "DATA_CLK");
    const lpo_xclbin_part parts[] = {{LPO_XCLBIN_BITSTREAM, so, sizeof so},
                                     {LPO_XCLBIN_METADATA, xml, sizeof xml - 1},
                                     {LPO_XCLBIN_MEMORY, memory, sizeof memory},
                                     {LPO_XCLBIN_CONNECTIVITY, connections, sizeof connections},
                                     {LPO_XCLBIN_IP_LAYOUT, layout, sizeof layout},
                                     {LPO_XCLBIN_CLOCKS, clocks, sizeof clocks}};
    char path[] = "/tmp/leanpo-damage-XXXXXX";
    lpo_error err;
    close(mkstemp(path));
    cr_assert(!lpo_xclbin_write(path, LPO_XCLBIN_SW_EMU, "test", parts, 6, &err), "%s", err.msg);
    FILE *f = fopen(path, "rb");
    whole = malloc(1 << 20);
    size = fread(whole, 1, 1 << 20, f);
    fclose(f);
    unlink(path);
}

static void teardown(void) {
    free(whole);
}

TestSuite(xclbin_damage, .init = setup, .fini = teardown);

/* Everything a reader would touch. */
static uint64_t walk(const lpo_xclbin *x) {
    uint64_t sum = strlen(x->platform) + strlen(x->uuid);
    for (int i = 0; i < x->n_sections; i++)
        for (uint64_t b = 0; b < x->sections[i].size_bytes; b++)
            sum += ((const uint8_t *)x->sections[i].data)[b];
    for (int i = 0; i < x->n_memories; i++) sum += strlen(x->memories[i].tag);
    for (int i = 0; i < x->n_ips; i++) sum += strlen(x->ips[i].name);
    for (int i = 0; i < x->n_clocks; i++) sum += strlen(x->clocks[i].name);
    for (int i = 0; i < x->n_connections; i++) {
        cr_assert(x->connections[i].ip < x->n_ips && x->connections[i].memory < x->n_memories);
        sum += (uint64_t)x->connections[i].arg;
    }
    for (int k = 0; k < x->n_kernels; k++)
        for (int a = 0; a < x->kernels[k].n_args; a++)
            sum += strlen(x->kernels[k].args[a].name) + strlen(x->kernels[k].args[a].type);
    return sum;
}

/* 1: read, and the card would take it; 0: refused, with the name of the file and a reason. */
static int offer(const uint8_t *data, size_t n) {
    lpo_xclbin *x = NULL;
    lpo_error err = {0};
    lpo_status st = lpo_xclbin_parse(&x, data, n, "a.xclbin", &err);
    if (st) {
        cr_assert_null(x);
    } else {
        walk(x);
        st = lpo_xclbin_check_card(x, "a.xclbin", &err);
    }
    lpo_xclbin_close(x);
    if (!st) return 1;
    cr_assert(st == LPO_EFORMAT || st == LPO_EUNSUPPORTED || st == LPO_ELIMIT, "status %d", st);
    cr_assert(!strncmp(err.msg, "a.xclbin: ", 10) && strlen(err.msg) > 20, "\"%s\"", err.msg);
    return 0;
}

/* The whole is sound; no part of it is, and a longer file is the same container. */
Test(xclbin_damage, truncated) {
    cr_assert(offer(whole, size));
    for (size_t n = 0; n < size; n++) {
        uint8_t *exact = malloc(n + !n); /* the sanitizer sees a read behind it */
        memcpy(exact, whole, n);
        cr_assert(!offer(exact, n), "%zu bytes of %zu were taken", n, size);
        free(exact);
    }
    cr_assert(offer(whole, size + 1));
}

/* Many bits are free (names, padding, the timestamp); the others are refused. */
Test(xclbin_damage, bit_flips) {
    size_t refused = 0;
    for (size_t bit = 0; bit < 8 * size; bit++) {
        whole[bit / 8] ^= (uint8_t)(1u << bit % 8);
        refused += !offer(whole, size);
        whole[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    cr_assert(refused > size / 2, "%zu of %zu flips refused", refused, 8 * size);
    cr_assert(offer(whole, size));
}

/* Fields overwritten with the values that break arithmetic, a few at a time. */
Test(xclbin_damage, wounds) {
    static const uint64_t values[] = {0,          1,          0x7f,      0xff,       0x7fffffff,
                                      0x80000000, 0xffffffff, INT64_MAX, UINT64_MAX, UINT64_MAX - 7,
                                      1ull << 32, 1ull << 63};
    uint8_t *copy = malloc(size);
    lpo_rng rng = lpo_rng_init(11, 0);
    for (int i = 0; i < 20000; i++) {
        memcpy(copy, whole, size);
        for (int wound = 0; wound <= i % 3; wound++) {
            uint64_t v = values[lpo_rng_below(&rng, sizeof values / sizeof *values)];
            size_t n = 1ull << lpo_rng_below(&rng, 4), at = lpo_rng_below(&rng, (uint32_t)(size / n)) * n;
            memcpy(copy + at, &v, n);
        }
        offer(copy, size);
    }
    free(copy);
}
