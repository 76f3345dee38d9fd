/* SPDX-License-Identifier: Apache-2.0 */
/* card_faults.c -- a host that lives through everything a card can do to it. `card_faults t.xclbin CASE`, one
 * process a case, started by card_faults.sh. Exit 0: the case holds.
 * leak: every kind of fault again and again in this one process, which must be left as it was: the same
 * descriptors, threads and children, no more memory. */
#define _DEFAULT_SOURCE
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
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

enum { N = 1024, BYTES = N * 4, NO_BUFFER = -1, NO_LOAD = -2 };

static xrtDeviceHandle device;
static xuid_t uuid;
static const char *container;

/* Bytes of `out` that are 0xa5 after the last run that did not complete. */
static int poisoned;

/* out[i] = i + 1 by the card. The run's state; for a completed one 100 + the wrong results. */
static int sum(xrtDeviceHandle on, int synced) {
    int *a, *b, *out, wrong = 0, state = NO_BUFFER;
    xrtKernelHandle k = xrtPLKernelOpen(on, uuid, "sum:{sum_1}");
    CHECK(k);
    xrtBufferHandle ba = xrtBOAlloc(on, BYTES, 0, 0), bb = NULL, bo = NULL;
    if (ba) {
        CHECK((bb = xrtBOAlloc(on, BYTES, 0, 0)) && (bo = xrtBOAlloc(on, BYTES, 0, 0)));
        a = xrtBOMap(ba), b = xrtBOMap(bb), out = xrtBOMap(bo);
        for (int i = 0; i < N; i++) a[i] = i, b[i] = 1, out[i] = 0;
        CHECK(!xrtBOSync(bb, XCL_BO_SYNC_BO_TO_DEVICE, BYTES, 0));
        CHECK(!xrtBOSync(bo, XCL_BO_SYNC_BO_TO_DEVICE, BYTES, 0));
        if (synced < 0) setenv("LEANPO_CARD_FAULTS", "short@*", 1);
        CHECK(!xrtBOSync(ba, XCL_BO_SYNC_BO_TO_DEVICE, BYTES, 0));
        if (synced < 0) unsetenv("LEANPO_CARD_FAULTS");
        xrtRunHandle r = xrtKernelRun(k, ba, bb, bo, N);
        CHECK(r);
        state = (int)xrtRunWaitFor(r, 20000);
        CHECK(!xrtBOSync(bo, XCL_BO_SYNC_BO_FROM_DEVICE, BYTES, 0));
        for (int i = 0; i < N; i++) wrong += out[i] != i + 1;
        poisoned = 0;
        for (int i = 0; i < BYTES; i++) poisoned += ((unsigned char *)out)[i] == 0xa5;
        if (state == ERT_CMD_STATE_COMPLETED) state = 100 + wrong;
        xrtRunClose(r);
        xrtBOFree(ba), xrtBOFree(bb), xrtBOFree(bo);
    }
    xrtKernelClose(k);
    return state;
}

static int mood(int what) {
    xrtKernelHandle k = xrtPLKernelOpen(device, uuid, "mood:{mood_1}");
    xrtRunHandle r = xrtKernelRun(k, what);
    CHECK(k && r);
    int state = (int)xrtRunWaitFor(r, 20000);
    xrtRunClose(r);
    xrtKernelClose(k);
    return state;
}

static int load(void) {
    return xrtDeviceLoadXclbinFile(device, container) ? NO_LOAD : 0;
}

static int with(const char *fault) {
    setenv("LEANPO_CARD_FAULTS", fault, 1);
    int state = strcmp(fault, "load@*") ? sum(device, 1) : load();
    unsetenv("LEANPO_CARD_FAULTS");
    return state;
}

static int one(int kind) {
    switch (kind) {
    case 0: return with("hang@*");
    case 1: return with("late@*");
    case 2: return mood(5); /* an endless loop */
    case 3: return with("abort@*");
    case 4: return mood(1);
    case 5: return mood(2); /* exit(3) */
    case 6: return mood(3); /* SIGSEGV */
    case 7: return with("flip@*");
    case 8: return sum(device, -1); /* short */
    case 9: return with("alloc@*");
    default: return with("load@*");
    }
}
enum { KINDS = 11, TIMEOUTS = 3 };
static const int wanted[KINDS] = {8, 8, 8, 6, 6, 6, 6, 101, 100 + N / 2, NO_BUFFER, NO_LOAD};

/* Names in a folder, of those with `part` in them. */
static int entries(const char *dir, const char *part) {
    int n = 0;
    DIR *d = opendir(dir);
    CHECK(d);
    for (struct dirent *e; (e = readdir(d));) n += strstr(e->d_name, part) != NULL;
    closedir(d);
    return n;
}

/* What this program and its cards may have left in places shared with others. */
static int litter(void) {
    const char *tmp = getenv("TMPDIR");
    return entries("/dev/shm", "leanpo") + entries("/dev/shm", "xrt") + entries("/dev/shm", "xcl") +
           (tmp ? entries(tmp, "") : 0);
}

static long resident_kib(void) {
    long pages = 0, unused;
    FILE *f = fopen("/proc/self/statm", "r");
    CHECK(f && fscanf(f, "%ld %ld", &unused, &pages) == 2);
    fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void faults(int n) {
    for (int i = 0; i < n; i++) {
        int kind = i % KINDS;
        if (kind < TIMEOUTS)
            setenv("LEANPO_CARD_TIMEOUT_MS", "30", 1);
        else
            unsetenv("LEANPO_CARD_TIMEOUT_MS"); /* a sound run on a busy machine may take long */
        CHECK(load() == 0);
        int state = one(kind);
        if (state != wanted[kind]) fprintf(stderr, "fault %d of kind %d: %d\n", i, kind, state);
        CHECK(state == wanted[kind]);
    }
    unsetenv("LEANPO_CARD_TIMEOUT_MS");
    CHECK(load() == 0 && sum(device, 1) == 100);
}

static void case_leak(void) {
    faults(2 * KINDS); /* XRT's own caches are filled now */
    int fds = entries("/proc/self/fd", ""), threads = entries("/proc/self/task", ""), left = litter();
    long kib = resident_kib();
    faults(200);
    CHECK(entries("/proc/self/fd", "") == fds && entries("/proc/self/task", "") == threads);
    CHECK(litter() == left);
    long grown = resident_kib() - kib;
    printf("200 faults: %d descriptors, %d threads, resident %+ld KiB\n", fds - 2, threads - 2, grown);
    CHECK(grown < 1024);
    xrtDeviceClose(device);
    device = NULL;
    CHECK(waitpid(-1, NULL, WNOHANG) == -1); /* no child is left, not even a dead one */
}

/* The card itself ends a run that hangs, and the runs queued behind it each in its turn; other compute units
 * go on; loading again resets it. */
static void case_timeout(void) {
    CHECK(mood(4) == ERT_CMD_STATE_TIMEOUT);
    CHECK(mood(0) == ERT_CMD_STATE_TIMEOUT && sum(device, 1) == 100);
    CHECK(load() == 0 && mood(0) == ERT_CMD_STATE_COMPLETED);
}

/* A host that gives up by itself and loads again gets a card that works, too. */
static void case_reload(void) {
    xrtKernelHandle k = xrtPLKernelOpen(device, uuid, "mood:{mood_1}");
    xrtRunHandle r = xrtKernelRun(k, 4);
    CHECK(xrtRunWaitFor(r, 100) == ERT_CMD_STATE_TIMEOUT);
    CHECK(load() == 0 && xrtRunState(r) == ERT_CMD_STATE_ABORT);
    xrtRunClose(r);
    xrtKernelClose(k);
    CHECK(mood(0) == ERT_CMD_STATE_COMPLETED);
}

static void case_poison(void) {
    CHECK(with("abort@*") == ERT_CMD_STATE_ABORT && poisoned == BYTES);
    CHECK(load() == 0 && with("hang@*") == ERT_CMD_STATE_TIMEOUT && poisoned == BYTES);
    CHECK(load() == 0 && sum(device, 1) == 100);
}

/* Without the flag the output is what it was. */
static void case_clean(void) {
    CHECK(with("abort@*") == ERT_CMD_STATE_ABORT && poisoned == 0);
}

/* Two cards at once: each has its process, its memory and its state; one crashes and the other goes on.
 * A buffer exported by one is the other's memory without a copy. */
static void case_two(void) {
    xrtDeviceHandle first = device, second = xrtDeviceOpen(1);
    CHECK(second && !xrtDeviceLoadXclbinFile(second, container) && !xrtDeviceOpen(2));
    xrtKernelHandle k[2] = {xrtPLKernelOpen(first, uuid, "counter:{counter_1}"),
                            xrtPLKernelOpen(second, uuid, "counter:{counter_1}")};
    xrtBufferHandle b[2] = {xrtBOAlloc(first, 4096, 0, 0), xrtBOAlloc(second, 4096, 0, 0)};
    CHECK(k[0] && k[1] && b[0] && b[1] && xrtBOAddress(b[0]) == xrtBOAddress(b[1]));
    for (int i = 1; i <= 20; i++) {
        xrtRunHandle r[2] = {xrtKernelRun(k[0], b[0]), xrtKernelRun(k[1], b[1])};
        for (int d = 0; d < 2; d++) {
            CHECK(xrtRunWaitFor(r[d], 20000) == ERT_CMD_STATE_COMPLETED);
            CHECK(!xrtBOSync(b[d], XCL_BO_SYNC_BO_FROM_DEVICE, 4096, 0) && *(int *)xrtBOMap(b[d]) == i);
            xrtRunClose(r[d]);
        }
    }
    xclBufferExportHandle fd = xrtBOExport(b[0]);
    xrtBufferHandle shared = xrtBOImport(second, fd);
    CHECK(fd >= 0 && shared);
    xrtRunHandle r = xrtKernelRun(k[1], shared);
    CHECK(xrtRunWaitFor(r, 20000) == ERT_CMD_STATE_COMPLETED);
    CHECK(!xrtBOSync(b[0], XCL_BO_SYNC_BO_FROM_DEVICE, 4096, 0) && *(int *)xrtBOMap(b[0]) == 21);
    xrtRunClose(r);
    xrtBOFree(shared);
    close(fd);
    CHECK(mood(1) == ERT_CMD_STATE_ABORT && sum(second, 1) == 100);
    for (int d = 0; d < 2; d++) xrtBOFree(b[d]), xrtKernelClose(k[d]);
    xrtDeviceClose(second);
}

/* Memory another process exported: the descriptor arrives over a socket or, here, by inheritance. */
static void case_import(void) {
    xrtBufferHandle b = xrtBOAlloc(device, 4096, 0, 0);
    int fd = xrtBOExport(b), status;
    char number[16], *argv[] = {"card_faults", (char *)container, "imported", NULL};
    ((int *)xrtBOMap(b))[7] = 77;
    CHECK(fd >= 0 && !xrtBOSync(b, XCL_BO_SYNC_BO_TO_DEVICE, 4096, 0));
    snprintf(number, sizeof number, "%d", dup(fd)); /* dup: not close-on-exec */
    setenv("IMPORT_FD", number, 1);
    pid_t child = fork();
    if (!child) execv("/proc/self/exe", argv), _exit(9);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(!xrtBOSync(b, XCL_BO_SYNC_BO_FROM_DEVICE, 4096, 0) && ((int *)xrtBOMap(b))[0] == 1);
    close(atoi(number));
    close(fd);
    xrtBOFree(b);
}

static void case_imported(void) {
    xrtBufferHandle b = xrtBOImport(device, atoi(getenv("IMPORT_FD")));
    CHECK(b && !xrtBOSync(b, XCL_BO_SYNC_BO_FROM_DEVICE, 4096, 0) && ((int *)xrtBOMap(b))[7] == 77);
    xrtKernelHandle k = xrtPLKernelOpen(device, uuid, "counter:{counter_1}");
    xrtRunHandle r = xrtKernelRun(k, b);
    CHECK(xrtRunWaitFor(r, 20000) == ERT_CMD_STATE_COMPLETED);
    xrtRunClose(r);
    xrtKernelClose(k);
    xrtBOFree(b);
}

/* The container is damaged: refused, and this program lives. The sound one then loads. */
static void case_damaged(void) {
    char path[4096];
    int refused = 0, n = 0;
    while (snprintf(path, sizeof path, "%s.bad%d", container, n) > 0 && !access(path, R_OK)) {
        refused += xrtDeviceLoadXclbinFile(device, path) != 0;
        n++;
    }
    printf("%d damaged containers, %d refused\n", n, refused);
    CHECK(n > 0 && refused == n && load() == 0 && sum(device, 1) == 100);
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*run)(void);
    } cases[] = {{"leak", case_leak},     {"timeout", case_timeout},   {"reload", case_reload},
                 {"poison", case_poison}, {"clean", case_clean},       {"two", case_two},
                 {"import", case_import}, {"imported", case_imported}, {"damaged", case_damaged}};
    if (argc != 3) return 2;
    container = argv[1];
    CHECK((device = xrtDeviceOpen(0)) && load() == 0);
    xrtDeviceGetXclbinUUID(device, uuid);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (!strcmp(cases[i].name, argv[2])) {
            cases[i].run();
            if (device) xrtDeviceClose(device);
            return 0;
        }
    fprintf(stderr, "no case %s\n", argv[2]);
    return 2;
}
