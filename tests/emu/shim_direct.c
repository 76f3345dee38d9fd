/* SPDX-License-Identifier: Apache-2.0 */
/* shim_direct.c -- the shim's own functions, called as XRT's core calls them, and linked into this program:
 * what no program that loads XRT allows, the sanitizers see all of it, the card process included.
 * XRT's C++ registration is two functions that do nothing here. Each test is a process. */
#include "base/rng.h"
#include "leanpo/xclbin.h"
#include "xclbin/format.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <ert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xclbin.h>
#include <xrt.h>

int xclRegRead(xclDeviceHandle handle, uint32_t ip, uint32_t offset, uint32_t *value);
int xclRegWrite(xclDeviceHandle handle, uint32_t ip, uint32_t offset, uint32_t value);

void *get_userpf_device(void *out, void *handle,
                        unsigned id) __asm__("_ZN8xrt_core5swemu17get_userpf_deviceEPvj");
void *get_userpf_device(void *out, void *handle, unsigned id) {
    (void)handle, (void)id;
    return out;
}
void register_axlf(void *device,
                   const struct axlf *top) __asm__("_ZN8xrt_core6device13register_axlfEPK4axlf");
void register_axlf(void *device, const struct axlf *top) {
    (void)device, (void)top;
}

enum {
    NONE = 0xffffffffu,
    SUM = 3,
    SUM_1 = 1,
    SUM_2 = 2,
    MOOD_1 = 4,
    MOOD_2 = 8
}; /* masks of compute units */

static uint8_t *container;
static size_t size;
static xclDeviceHandle card;

static int load(void) {
    return xclLoadXclBin(card, (const struct axlf *)container);
}

static void setup(void) {
    static const char *const sources[] = {TESTS_DIR "/emu/kernels/plain.c"},
                             *const kernels[] = {"void sum(const int *a, const int *b, int *out, int n)",
                                                 "void mood(int what)"};
    char path[] = "/tmp/leanpo-shim-XXXXXX";
    lpo_error err;
    lpo_xclbin_build_options o = lpo_xclbin_build_default();
    o.sources = sources, o.n_sources = 1, o.kernels = kernels, o.n_kernels = 2, o.cus = 2, o.bank_mib = 64;
    o.out = path;
    close(mkstemp(path));
    cr_assert(!lpo_xclbin_build(&o, &err), "%s", err.msg);
    FILE *f = fopen(path, "rb");
    container = malloc(1 << 20);
    size = fread(container, 1, 1 << 20, f);
    fclose(f);
    unlink(path);
    setenv("LEANPO_CARD", LEANPO_CARD_PATH, 1);
    card = xclOpen(0, NULL, XCL_QUIET);
    cr_assert(card && load() == 0);
}

static void teardown(void) {
    xclClose(card);
    cr_assert(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD); /* the card has gone */
    free(container);
}

TestSuite(shim, .init = setup, .fini = teardown, .timeout = 120);

static xclBufferHandle command(uint32_t mask, const void *regs, size_t n) {
    xclBufferHandle bo = xclAllocBO(card, 4096, 0, XCL_BO_FLAGS_EXECBUF);
    struct ert_start_kernel_cmd *k = xclMapBO(card, bo, true);
    memset(k, 0, 4096);
    k->opcode = ERT_START_CU;
    k->state = ERT_CMD_STATE_NEW;
    k->count = (1 + (0x10 + n) / 4) & 0x7ff;
    k->cu_mask = mask;
    memcpy(k->data + 4, regs, n);
    return bo;
}

static unsigned state_of(xclBufferHandle bo) {
    uint32_t *header = xclMapBO(card, bo, false);
    return __atomic_load_n(header, __ATOMIC_ACQUIRE) & 15;
}

static unsigned wait_for(xclBufferHandle bo) {
    while (state_of(bo) < ERT_CMD_STATE_COMPLETED) xclExecWait(card, 1000);
    return state_of(bo);
}

static unsigned mood(uint32_t mask, uint32_t what) {
    xclBufferHandle bo = command(mask, &what, sizeof what);
    cr_assert(!xclExecBuf(card, bo));
    unsigned s = wait_for(bo);
    xclFreeBO(card, bo);
    return s;
}

static uint64_t address(xclBufferHandle bo) {
    struct xclBOProperties p;
    cr_assert(!xclGetBOProperties(card, bo, &p));
    return p.paddr;
}

/* Sums of random lengths on both compute units, buffers of random sizes; every byte is right. */
static void sums(uint64_t seed, int runs) {
    lpo_rng rng = lpo_rng_init(seed, 0);
    for (int i = 0; i < runs; i++) {
        int n = 1 + (int)lpo_rng_below(&rng, 20000);
        size_t bytes = (size_t)n * 4;
        xclBufferHandle bo[3];
        int *p[3];
        for (int b = 0; b < 3; b++) {
            bo[b] = xclAllocBO(card, bytes, 0, 0);
            cr_assert(bo[b] != NONE);
            p[b] = xclMapBO(card, bo[b], true);
        }
        for (int k = 0; k < n; k++) p[0][k] = (int)lpo_rng_u64(&rng) >> 2, p[1][k] = k;
        cr_assert(!xclSyncBO(card, bo[0], XCL_BO_SYNC_BO_TO_DEVICE, bytes, 0));
        cr_assert(!xclSyncBO(card, bo[1], XCL_BO_SYNC_BO_TO_DEVICE, bytes, 0));
        struct __attribute__((packed)) { /* the register map from 0x10 */
            uint64_t a;
            uint32_t pad1;
            uint64_t b;
            uint32_t pad2;
            uint64_t out;
            uint32_t pad3, n;
        } regs = {address(bo[0]), 0, address(bo[1]), 0, address(bo[2]), 0, (uint32_t)n};
        xclBufferHandle run = command(SUM, &regs, sizeof regs);
        cr_assert(!xclExecBuf(card, run) && wait_for(run) == ERT_CMD_STATE_COMPLETED);
        cr_assert(!xclSyncBO(card, bo[2], XCL_BO_SYNC_BO_FROM_DEVICE, bytes, 0));
        for (int k = 0; k < n; k++) cr_assert(p[2][k] == p[0][k] + k);
        xclFreeBO(card, run);
        for (int b = 0; b < 3; b++) xclFreeBO(card, bo[b]);
    }
}

static void *in_thread(void *seed) {
    sums((uint64_t)(uintptr_t)seed, 60);
    return NULL;
}

/* Four threads share the card. */
Test(shim, threads) {
    pthread_t t[4];
    for (uintptr_t i = 0; i < 4; i++) pthread_create(&t[i], NULL, in_thread, (void *)(i + 1));
    for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
}

/* Calls no sound program makes: each is refused with an errno, none is believed. */
Test(shim, hostile_calls) {
    xclBufferHandle bo = xclAllocBO(card, 4096, 0, 0);
    uint32_t v = 0;
    cr_assert(xclExecBuf(card, bo) < 0 && xclExecBuf(card, NONE) < 0 && xclExecBuf(card, 12345) < 0);
    xclBufferHandle bad = command(SUM_1, &v, 4);
    struct ert_start_kernel_cmd *k = xclMapBO(card, bad, true);
    static const struct {
        unsigned opcode, count, masks;
        uint32_t mask;
    } packets[] = {{ERT_START_CU, 2047, 0, SUM_1}, /* longer than its buffer and the register map */
                   {ERT_START_CU, 0, 0, SUM_1},
                   {ERT_START_CU, 6, 3, 0},
                   {ERT_START_CU, 6, 0, 0},
                   {ERT_START_CU, 6, 0, 1u << 31}, /* no such compute unit */
                   {9, 6, 0, SUM_1}};
    for (size_t i = 0; i < sizeof packets / sizeof *packets; i++) {
        k->opcode = packets[i].opcode & 31;
        k->count = packets[i].count & 0x7ff;
        k->extra_cu_masks = packets[i].masks & 3;
        k->cu_mask = packets[i].mask;
        cr_assert(xclExecBuf(card, bad) < 0, "packet %zu", i);
    }
    xclFreeBO(card, bad);
    xclFreeBO(card, bad);
    xclFreeBO(card, 1u << 30);
    cr_assert(xclMapBO(card, bad, true) == NULL);

    cr_assert(xclSyncBO(card, bo, XCL_BO_SYNC_BO_TO_DEVICE, 4096, 4096) < 0);
    cr_assert(xclSyncBO(card, bo, XCL_BO_SYNC_BO_TO_DEVICE, 16, SIZE_MAX - 4) < 0);
    cr_assert(xclSyncBO(card, bo, XCL_BO_SYNC_BO_TO_DEVICE, SIZE_MAX, 0) < 0);
    cr_assert(xclCopyBO(card, bo, bo, 4096, 1, 0) < 0 && xclCopyBO(card, bo, NONE, 1, 0, 0) < 0);
    cr_assert(xclCopyBO(card, bo, bo, SIZE_MAX, 1, 0) < 0);
    cr_assert(xclAllocBO(card, 0, 0, 0) == NONE && xclAllocBO(card, SIZE_MAX, 0, 0) == NONE);
    cr_assert(xclAllocBO(card, 65 << 20, 0, 0) == NONE); /* the bank has 64 MiB */
    cr_assert(xclAllocBO(card, 4096, 0, 63) == NONE);    /* and there is one */
    cr_assert(xclImportBO(card, -1, 0) == NONE && xclExportBO(card, NONE) == -1);

    cr_assert(xclRegRead(card, 4, 0, &v) < 0 && xclRegRead(card, 0, 4096, &v) < 0 &&
              xclRegRead(card, 0, 2, &v) < 0);
    cr_assert(!xclRegWrite(card, 0, 0x40, 7) && !xclRegRead(card, 0, 0x40, &v) && v == 7);
    cr_assert(xclOpen(1, NULL, XCL_QUIET) == NULL && xclOpen(1000, NULL, XCL_QUIET) == NULL);

    static const xuid_t other = {1};
    cr_assert(xclOpenContext(card, other, 0, true) < 0);
    const unsigned char *uuid = container + XB_UUID;
    cr_assert(!xclOpenContext(card, uuid, 0, false) && xclOpenContext(card, uuid, 0, true) < 0);
    cr_assert(!xclCloseContext(card, uuid, 0) && !xclCloseContext(card, uuid, 77));
    cr_assert(!xclOpenContext(card, uuid, 0, true) && !xclOpenContext(card, uuid, 0, true));
    xclFreeBO(card, bo);
    sums(9, 3);
}

/* A register write starts a unit by hand. */
Test(shim, registers) {
    uint32_t v = 0;
    cr_assert(!xclRegRead(card, 2, 0, &v) && v == 4); /* ap_idle */
    cr_assert(!xclRegWrite(card, 2, 0x10, 0) && !xclRegWrite(card, 2, 0, 1));
    for (int i = 0; i < 1000 && v != 6; i++) {
        usleep(1000);
        cr_assert(!xclRegRead(card, 2, 0, &v));
    }
    cr_assert(v == 6); /* done and idle */
}

/* Crashes, time limits, aborts, resets, one after the other, buffers and commands freed at the worst moment.
 */
Test(shim, faults) {
    for (int round = 0; round < 3; round++)
        for (uint32_t what = 1; what <= 5; what++) {
            unsetenv("LEANPO_CARD_TIMEOUT_MS");
            if (what > 3) setenv("LEANPO_CARD_TIMEOUT_MS", "50", 1);
            cr_assert(load() == 0);
            cr_assert(mood(MOOD_1, what) == (what > 3 ? ERT_CMD_STATE_TIMEOUT : ERT_CMD_STATE_ABORT));
        }
    setenv("LEANPO_CARD_TIMEOUT_MS", "0", 1);
    cr_assert(load() == 0);
    uint32_t hang = 4;
    xclBufferHandle freed = command(MOOD_1, &hang, 4), aborted = command(MOOD_2, &hang, 4),
                    abort_it = xclAllocBO(card, 4096, 0, XCL_BO_FLAGS_EXECBUF);
    cr_assert(!xclExecBuf(card, freed) && !xclExecBuf(card, aborted));
    xclFreeBO(card, freed);
    struct ert_abort_cmd *k = xclMapBO(card, abort_it, true);
    memset(k, 0, sizeof *k);
    k->opcode = ERT_ABORT;
    k->exec_bo_handle = aborted;
    cr_assert(!xclExecBuf(card, abort_it) && state_of(abort_it) == ERT_CMD_STATE_COMPLETED);
    cr_assert(state_of(aborted) == ERT_CMD_STATE_ABORT);
    k->exec_bo_handle = NONE;
    cr_assert(!xclExecBuf(card, abort_it)); /* nothing to abort */
    sums(5, 3);
    cr_assert(load() == 0);
    sums(6, 3);
    xclFreeBO(card, aborted);
    xclFreeBO(card, abort_it);
}

/* More runs queued than there are slots: the surplus is refused, the rest is done. */
Test(shim, full_queue) {
    enum { MANY = 4200 };
    static xclBufferHandle bo[MANY];
    uint32_t nothing = 0;
    int taken = 0;
    setenv("LEANPO_CARD_FAULTS", "late:mood_1@1", 1);
    for (int i = 0; i < MANY; i++) {
        bo[i] = command(MOOD_1, &nothing, 4);
        int e = xclExecBuf(card, bo[i]);
        cr_assert(e == 0 || e == -EBUSY);
        taken += e == 0;
        if (e) *(uint32_t *)xclMapBO(card, bo[i], true) = ERT_CMD_STATE_COMPLETED;
    }
    unsetenv("LEANPO_CARD_FAULTS");
    cr_assert(taken >= 4096);
    for (int i = 0; i < MANY; i++) {
        cr_assert(wait_for(bo[i]) == ERT_CMD_STATE_COMPLETED);
        xclFreeBO(card, bo[i]);
    }
}

/* Containers with a flipped bit anywhere, the shared object included (not the length, which only XRT knows):
 * whatever the card makes of it, this program lives and the sound one loads after. */
Test(shim, damaged) {
    lpo_rng rng = lpo_rng_init(8, 0);
    int refused = 0;
    for (int i = 0; i < 150; i++) {
        size_t at = XB_UNIQUE + lpo_rng_below(&rng, (uint32_t)(i % 3 ? 4096 : size - XB_UNIQUE));
        if (at >= size || (at >= XB_LENGTH && at < XB_LENGTH + 8)) continue;
        uint8_t was = container[at], first = container[XB_UUID];
        container[at] ^= (uint8_t)(1 << lpo_rng_below(&rng, 8));
        container[XB_UUID] = (uint8_t)(i + 1); /* another container, not the one that is loaded */
        refused += load() != 0;
        container[XB_UUID] = first;
        container[at] = was;
    }
    cr_assert(refused > 5, "%d", refused);
    cr_assert(load() == 0);
    sums(7, 3);
}
