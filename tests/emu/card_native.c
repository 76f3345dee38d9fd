/* SPDX-License-Identifier: Apache-2.0 */
/* card_native.c -- a customer's host program in XRT's native C API, run on the software card by
 * card_native.sh. One case per process: `card_native t.xclbin CASE`. Exit 0: the case holds. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <xrt/xrt_bo.h>
#include <xrt/xrt_device.h>
#include <xrt/xrt_kernel.h>

#define CHECK(x)                                                                                             \
    do {                                                                                                     \
        if (!(x)) {                                                                                          \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #x);                                \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

static xrtDeviceHandle device;
static xuid_t uuid;

typedef struct buffer {
    xrtBufferHandle bo;
    int *p;
    size_t size;
} buffer;

static buffer make(xrtKernelHandle k, int arg, size_t size) {
    buffer b = {xrtBOAlloc(device, size, 0, (xrtMemoryGroup)xrtKernelArgGroupId(k, arg)), NULL, size};
    CHECK(b.bo);
    b.p = xrtBOMap(b.bo);
    CHECK(b.p);
    return b;
}

static void to_card(buffer b) {
    CHECK(!xrtBOSync(b.bo, XCL_BO_SYNC_BO_TO_DEVICE, b.size, 0));
}
static void from_card(buffer b) {
    CHECK(!xrtBOSync(b.bo, XCL_BO_SYNC_BO_FROM_DEVICE, b.size, 0));
}

/* out = a + b over `n` ints on both compute units at once, `reps` times, other numbers each time. */
static void add(const char *kernel, int n, int reps) {
    xrtKernelHandle k = xrtPLKernelOpen(device, uuid, kernel);
    CHECK(k);
    buffer a[2], b[2], out[2];
    for (int s = 0; s < 2; s++) {
        a[s] = make(k, 0, (size_t)n * 4);
        b[s] = make(k, 1, (size_t)n * 4);
        out[s] = make(k, 2, (size_t)n * 4);
    }
    for (int r = 0; r < reps; r++) {
        xrtRunHandle run[2];
        for (int s = 0; s < 2; s++) {
            for (int i = 0; i < n; i++) a[s].p[i] = i * (s + 1), b[s].p[i] = 7 * r - s;
            to_card(a[s]);
            to_card(b[s]);
            run[s] = xrtKernelRun(k, a[s].bo, b[s].bo, out[s].bo, n);
            CHECK(run[s]);
        }
        for (int s = 0; s < 2; s++) {
            CHECK(xrtRunWait(run[s]) == ERT_CMD_STATE_COMPLETED);
            from_card(out[s]);
            for (int i = 0; i < n; i++) CHECK(out[s].p[i] == i * (s + 1) + 7 * r - s);
            xrtRunClose(run[s]);
        }
    }
    for (int s = 0; s < 2; s++) xrtBOFree(a[s].bo), xrtBOFree(b[s].bo), xrtBOFree(out[s].bo);
    xrtKernelClose(k);
}

static void case_stream(void) {
    add("vadd", 1000, 3);
}
static void case_large(void) {
    add("sum", 16 << 20, 1);
}
static void case_many(void) {
    add("sum", 64, 500);
} /* two runs each: 1,000 */

static void case_scalars(void) {
    xrtKernelHandle k = xrtPLKernelOpen(device, uuid, "scalars:{scalars_1}");
    CHECK(k);
    buffer out = make(k, 0, 4096);
    xrtRunHandle r =
        xrtKernelRun(k, out.bo, 1.5f, -2.25, (uint64_t)1 << 40, (int64_t)-3, 250, -7, 1, 4000000000u);
    CHECK(r && xrtRunWait(r) == ERT_CMD_STATE_COMPLETED);
    from_card(out);
    const double *d = (const double *)out.p, want[] = {1.5, -2.25, 1099511627776.0, -3, 250, -7, 1, 4e9};
    for (int i = 0; i < 8; i++) CHECK(d[i] == want[i]);
    xrtRunClose(r);
    xrtBOFree(out.bo);
    xrtKernelClose(k);
}

/* Runs that tell their clocks to the trace. */
static void case_timed(void) {
    xrtKernelHandle k = xrtPLKernelOpen(device, uuid, "timed:{timed_1}");
    buffer a = make(k, 0, 4096), out = make(k, 1, 4096);
    for (int i = 0; i < 2; i++) {
        xrtRunHandle r = xrtKernelRun(k, a.bo, out.bo, 1000);
        CHECK(xrtRunWait(r) == ERT_CMD_STATE_COMPLETED);
        xrtRunClose(r);
    }
    from_card(out);
    xrtBOFree(a.bo), xrtBOFree(out.bo);
    xrtKernelClose(k);
}

/* Without the syncs the card must not see what the host wrote, nor the host what the card wrote. */
static void case_stale(void) {
    xrtKernelHandle k = xrtPLKernelOpen(device, uuid, "sum");
    buffer a = make(k, 0, 4096), b = make(k, 1, 4096), out = make(k, 2, 4096);
    for (int i = 0; i < 1024; i++) a.p[i] = 5, b.p[i] = 6, out.p[i] = -1;
    to_card(a);
    xrtRunHandle r = xrtKernelRun(k, a.bo, b.bo, out.bo, 1024);
    CHECK(xrtRunWait(r) == ERT_CMD_STATE_COMPLETED);
    int shared = getenv("LEANPO_CARD_SHARED") != NULL;
    CHECK(out.p[9] == (shared ? 11 : -1)); /* forgotten: from the card */
    from_card(out);
    CHECK(out.p[9] == (shared ? 11 : 5)); /* forgotten: b to the card */
    xrtRunClose(r);
    xrtBOFree(a.bo), xrtBOFree(b.bo), xrtBOFree(out.bo);
    xrtKernelClose(k);
}

/* Two compute units have a static each: their counts are their own. */
static void case_statics(void) {
    for (int cu = 1; cu <= 2; cu++) {
        char name[40];
        snprintf(name, sizeof name, "counter:{counter_%d}", cu);
        xrtKernelHandle k = xrtPLKernelOpen(device, uuid, name);
        buffer out = make(k, 0, 4096);
        for (int i = 1; i <= 3; i++) {
            xrtRunHandle r = xrtKernelRun(k, out.bo);
            CHECK(xrtRunWait(r) == ERT_CMD_STATE_COMPLETED);
            from_card(out);
            CHECK(out.p[0] == i);
            xrtRunClose(r);
        }
        xrtBOFree(out.bo);
        xrtKernelClose(k);
    }
}

/* Sub-buffers, a copy on the card, export and import, addresses used again. */
static void case_buffers(void) {
    buffer a = {xrtBOAlloc(device, 8192, 0, 0), NULL, 8192}, b = {xrtBOAlloc(device, 8192, 0, 0), NULL, 8192};
    a.p = xrtBOMap(a.bo), b.p = xrtBOMap(b.bo);
    for (int i = 0; i < 2048; i++) a.p[i] = i;
    xrtBufferHandle half = xrtBOSubAlloc(a.bo, 4096, 4096);
    CHECK(half && xrtBOAddress(half) == xrtBOAddress(a.bo) + 4096 && *(int *)xrtBOMap(half) == 1024);
    CHECK(!xrtBOSync(half, XCL_BO_SYNC_BO_TO_DEVICE, 4096, 0)); /* the second half only */
    CHECK(!xrtBOCopy(b.bo, a.bo, 8192, 0, 0));
    from_card(b);
    CHECK(b.p[1024] == 1024 && b.p[2047] == 2047 && b.p[1023] == 0);
    xclBufferExportHandle fd = xrtBOExport(a.bo);
    CHECK(fd >= 0);
    xrtBufferHandle again = xrtBOImport(device, fd);
    CHECK(again && xrtBOAddress(again) == xrtBOAddress(a.bo));
    xrtBOFree(half);
    xrtBOFree(a.bo); /* the import still holds the memory */
    CHECK(!xrtBOSync(again, XCL_BO_SYNC_BO_FROM_DEVICE, 8192, 0) && ((int *)xrtBOMap(again))[2000] == 2000);
    uint64_t address = xrtBOAddress(again);
    xrtBOFree(again);
    close(fd);
    for (int i = 0; i < 2000; i++) { /* no leak of addresses or descriptors */
        xrtBufferHandle t = xrtBOAlloc(device, 8192, 0, 0);
        CHECK(t && xrtBOAddress(t) == address);
        xrtBOFree(t);
    }
    xrtBOFree(b.bo);
}

/* Banks of 512 MiB: arguments live where they are wired, and a bank that is full says no. */
static void case_banks(void) {
    xrtKernelHandle k = xrtPLKernelOpen(device, uuid, "sum");
    CHECK(xrtKernelArgGroupId(k, 0) == 1 && xrtKernelArgGroupId(k, 1) == 0);
    buffer a = make(k, 0, 256 << 20), b = make(k, 1, 4096);
    CHECK(xrtBOAddress(a.bo) == 512u << 20 && xrtBOAddress(b.bo) < 512u << 20);
    CHECK(!xrtBOAlloc(device, 257 << 20, 0, 1)); /* what is left of bank 1 is smaller */
    xrtBufferHandle rest = xrtBOAlloc(device, 256 << 20, 0, 1);
    CHECK(rest);
    xrtBOFree(rest), xrtBOFree(a.bo), xrtBOFree(b.bo);
    xrtKernelClose(k);
}

static void case_registers(void) {
    xrtKernelHandle k = xrtPLKernelOpenExclusive(device, uuid, "sum:{sum_1}");
    CHECK(k);
    CHECK(!xrtPLKernelOpen(device, uuid, "sum:{sum_1}")); /* it is taken */
    uint32_t v = 0;
    CHECK(!xrtKernelReadRegister(k, 0, &v) && v == 4); /* ap_idle */
    CHECK(!xrtKernelWriteRegister(k, 0x34, 77) && !xrtKernelReadRegister(k, 0x34, &v) && v == 77);
    xrtKernelClose(k);
}

/* The kernel dies of `what`; this program lives, is told, and works on after loading again. */
static void crash(int what) {
    xrtKernelHandle k = xrtPLKernelOpen(device, uuid, "mood");
    xrtRunHandle r = xrtKernelRun(k, what);
    CHECK(r && xrtRunWaitFor(r, 5000) == ERT_CMD_STATE_ABORT);
    xrtRunClose(r);
    xrtKernelClose(k);
}

static void case_abort(void) {
    crash(1);
}
static void case_exit(void) {
    crash(2);
}
static void case_fault(void) {
    crash(3);
}

static void case_hang(void) {
    xrtKernelHandle k = xrtPLKernelOpen(device, uuid, "mood");
    xrtRunHandle r = xrtKernelRun(k, 4);
    CHECK(r && xrtRunWaitFor(r, 200) == ERT_CMD_STATE_TIMEOUT);
    xrtRunClose(r); /* its command buffer is freed while the kernel runs */
    xrtKernelClose(k);
}

/* Faults by LEANPO_CARD_FAULTS, set by the script: what a host sees of each. */
static int one_sum(int timeout_ms) {
    xrtKernelHandle k = xrtPLKernelOpen(device, uuid, "sum:{sum_1}");
    buffer a = make(k, 0, 4096), b = make(k, 1, 4096), out = make(k, 2, 4096);
    for (int i = 0; i < 1024; i++) a.p[i] = i, b.p[i] = 1;
    to_card(a);
    to_card(b);
    xrtRunHandle r = xrtKernelRun(k, a.bo, b.bo, out.bo, 1024);
    int state = xrtRunWaitFor(r, (unsigned)timeout_ms), wrong = 0;
    from_card(out);
    for (int i = 0; i < 1024; i++) wrong += out.p[i] != i + 1;
    xrtRunClose(r);
    xrtBOFree(a.bo), xrtBOFree(b.bo), xrtBOFree(out.bo);
    xrtKernelClose(k);
    return state == ERT_CMD_STATE_COMPLETED ? wrong : -state;
}

static void case_sound(void) {
    CHECK(one_sum(5000) == 0);
}
static void case_flipped(void) {
    CHECK(one_sum(5000) == 0 && one_sum(5000) == 1 && one_sum(5000) == 0);
}
static void case_late(void) {
    CHECK(one_sum(100) == -ERT_CMD_STATE_TIMEOUT);
}
static void case_aborted(void) {
    CHECK(one_sum(5000) == -ERT_CMD_STATE_ABORT);
}
static void case_short(void) {
    CHECK(one_sum(5000) == 512);
} /* half of `a` never arrived */
static void case_no_memory(void) {
    CHECK(!xrtBOAlloc(device, 4096, 0, 0) && xrtBOAlloc(device, 4096, 0, 0));
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*run)(void);
    } cases[] = {{"stream", case_stream},       {"large", case_large},        {"many", case_many},
                 {"scalars", case_scalars},     {"stale", case_stale},        {"statics", case_statics},
                 {"timed", case_timed},         {"buffers", case_buffers},    {"banks", case_banks},
                 {"registers", case_registers}, {"abort", case_abort},        {"exit", case_exit},
                 {"fault", case_fault},         {"hang", case_hang},          {"sound", case_sound},
                 {"flipped", case_flipped},     {"late", case_late},          {"aborted", case_aborted},
                 {"short", case_short},         {"no_memory", case_no_memory}};
    if (argc != 3) return 2;
    device = xrtDeviceOpen(0);
    CHECK(device);
    int refused = xrtDeviceLoadXclbinFile(device, argv[1]);
    if (!strcmp(argv[2], "refused")) {
        CHECK(refused);
        xrtDeviceClose(device);
        return 0;
    }
    CHECK(!refused);
    xrtDeviceGetXclbinUUID(device, uuid);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (!strcmp(cases[i].name, argv[2])) {
            cases[i].run();
            xrtDeviceClose(device);
            return 0;
        }
    fprintf(stderr, "no case %s\n", argv[2]);
    return 2;
}
