/* SPDX-License-Identifier: Apache-2.0 */
/* link_xrt.c -- a card through XRT's C API: hardware and the software card by the same code. The only file
 * that sees XRT, and only its headers: the library is found at run time, so one program serves machines with
 * and without it. Built without the headers, this link says so and nothing else is missing.
 *
 * Each compute unit is opened by its own name, "k:{k_1}": XRT would share a kernel over units only if all are
 * wired alike, and the driver wants to know which unit hangs. XRT ends the process (std::terminate) when
 * XILINX_XRT is not set, so that is settled before the library is opened. */
#include "device/fpga/link.h"

#ifndef LEANPO_XRT_HEADERS

lpo_status fpga_xrt_prepare(int *n_cards, const lpo_xclbin *x, const char *path, lpo_error *err) {
    (void)x;
    (void)path;
    *n_cards = 0;
    return lpo_fail(
        err, LPO_ENOTFOUND,
        "this LeanPO was built without XRT's headers: cards cannot be used, csim can (scripts/packages "
        "install card, then build again)");
}

static lpo_status open_nothing(void **card, char name[128], int index, const lpo_xclbin *x, const char *path,
                               lpo_error *err) {
    int n;
    (void)card;
    (void)name;
    (void)index;
    return fpga_xrt_prepare(&n, x, path, err);
}

const fpga_link fpga_link_xrt = {.open = open_nothing};

#else

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xrt/xrt_bo.h>
#include <xrt/xrt_device.h>
#include <xrt/xrt_kernel.h>

/* clang-format off */
#define XRT_CALLS(X) \
    X(xrtDeviceOpen) X(xrtDeviceClose) X(xrtDeviceLoadXclbinFile) X(xrtDeviceGetXclbinUUID) \
    X(xrtPLKernelOpen) X(xrtKernelClose) X(xrtKernelArgGroupId) \
    X(xrtBOAlloc) X(xrtBOMap) X(xrtBOSync) X(xrtBOFree) \
    X(xrtRunOpen) X(xrtRunSetArg) X(xrtRunStart) X(xrtRunWaitFor) X(xrtRunClose)
/* clang-format on */

static struct {
#define X(f) __typeof__(f) *f;
    XRT_CALLS(X)
#undef X
} xrt;
static void *library;      /* open until the process ends: XRT's threads do not like to be unloaded */
static bool for_emulation; /* what the library was opened for; it cannot be both in one process */
static pthread_mutex_t prepare_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- the library and its environment ---- */

static lpo_status load_library(lpo_error *err) {
    void *so = dlopen("libxrt_coreutil.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!so) return lpo_fail(err, LPO_ENOTFOUND, "XRT: %.300s (scripts/packages install card)", dlerror());
#define X(f)                                                                                                 \
    *(void **)&xrt.f = dlsym(so, #f);                                                                        \
    if (!xrt.f)                                                                                              \
        return lpo_fail(err, LPO_ENOTFOUND, "libxrt_coreutil.so.2 has no %s: it is too old (2.13 works)", #f);
    XRT_CALLS(X)
#undef X
    library = so;
    return LPO_OK;
}

static bool mode_is(const char *wanted) {
    const char *mode = getenv("XCL_EMULATION_MODE");
    return mode && !strcmp(mode, wanted);
}

/* The software card: a shell that has eval'd `leanpo devices --xrt-env` is taken at its word. */
static lpo_status set_emulation(const char *path, lpo_error *err) {
    if (getenv("XCL_EMULATION_MODE") && !mode_is("sw_emu"))
        return lpo_fail(
            err, LPO_EINVAL,
            "%.300s is for sw_emu and XCL_EMULATION_MODE is %.40s (unset it: leanpo sets what it needs)",
            path, getenv("XCL_EMULATION_MODE"));
    if (mode_is("sw_emu") && getenv("XILINX_XRT")) return LPO_OK;
    if (getenv("XILINX_XRT"))
        lpo_log(
            LPO_LOG_WARN,
            "XILINX_XRT is set as for hardware, and %s is for the software card: using that (--xclbin names "
            "another container)",
            path);
    lpo_card_variable v[LPO_CARD_VARIABLES];
    lpo_status st = lpo_card_environment(v, err);
    for (int i = 0; !st && i < LPO_CARD_VARIABLES; i++)
        if (setenv(v[i].name, v[i].value, v[i].replaces))
            st = lpo_fail(err, LPO_ENOMEM, "out of memory for the environment");
    return st;
}

static lpo_status set_hardware(const char *path, lpo_error *err) {
    if (getenv("XCL_EMULATION_MODE"))
        return lpo_fail(err, LPO_EINVAL, "%.300s is for hardware and XCL_EMULATION_MODE is set (unset it)",
                        path);
    if (getenv("XILINX_XRT")) return LPO_OK;
    if (access("/opt/xilinx/xrt/lib", R_OK))
        return lpo_fail(
            err, LPO_ENOTFOUND,
            "XILINX_XRT is not set and /opt/xilinx/xrt is not there: source setup.sh of XRT, or export "
            "XILINX_XRT=/usr for Debian's");
    setenv("XILINX_XRT", "/opt/xilinx/xrt", 0);
    return LPO_OK;
}

static lpo_status prepare(const lpo_xclbin *x, const char *path, lpo_error *err) {
    bool emulation = x->mode == LPO_XCLBIN_SW_EMU;
    if (x->mode == LPO_XCLBIN_HW_EMU)
        return lpo_fail(err, LPO_EUNSUPPORTED, "%.300s is for hw_emu (hardware and sw_emu are driven)", path);
    if (library && for_emulation != emulation)
        return lpo_fail(err, LPO_EUNSUPPORTED,
                        "%.300s is for %s and XRT already serves %s in this process: use another process",
                        path, emulation ? "sw_emu" : "hardware", emulation ? "hardware" : "sw_emu");
    if (library) return LPO_OK;
    for_emulation = emulation;
    lpo_status st = emulation ? set_emulation(path, err) : set_hardware(path, err);
    return st ? st : load_library(err);
}

lpo_status fpga_xrt_prepare(int *n_cards, const lpo_xclbin *x, const char *path, lpo_error *err) {
    *n_cards = 0;
    pthread_mutex_lock(&prepare_lock);
    lpo_status st = prepare(x, path, err);
    pthread_mutex_unlock(&prepare_lock);
    for (; !st && *n_cards < FPGA_MAX_CARDS; ++*n_cards) {
        xrtDeviceHandle d = xrt.xrtDeviceOpen((unsigned)*n_cards);
        if (!d) break;
        xrt.xrtDeviceClose(d);
    }
    return st;
}

/* ---- a card ---- */

typedef struct xrt_kernel {
    int n_units;
    xrtKernelHandle unit[FPGA_MAX_UNITS];
    /* How XRT reads argument a from a variable argument list follows its type in the container. */
    bool is_double[FPGA_MAX_ARGS], is_float[FPGA_MAX_ARGS];
} xrt_kernel;

typedef struct xrt_card {
    xrtDeviceHandle device;
    xrt_kernel kernel[LPO_HLS_N_KERNELS];
} xrt_card;

typedef struct xrt_run {
    const lpo_hls_kernel *row;
    const xrt_kernel *kernel;
    xrtRunHandle run;
} xrt_run;

static void read_types(xrt_kernel *k, const lpo_xclbin *x, const char *name) {
    for (int i = 0; i < x->n_kernels; i++)
        for (int a = 0; a < x->kernels[i].n_args && !strcmp(x->kernels[i].name, name); a++) {
            const lpo_xclbin_arg *arg = &x->kernels[i].args[a];
            k->is_double[arg->id] = !strcmp(arg->type, "double");
            k->is_float[arg->id] = !strcmp(arg->type, "float");
        }
}

static lpo_status open_kernel(xrt_card *c, int id, const lpo_xclbin *x, const xuid_t uuid, lpo_error *err) {
    const char *name = lpo_hls_kernels[id].name;
    size_t n = strlen(name);
    xrt_kernel *k = &c->kernel[id];
    read_types(k, x, name);
    for (int i = 0; i < x->n_ips && k->n_units < FPGA_MAX_UNITS; i++) {
        const char *ip = x->ips[i].name; /* "preprocess:preprocess_1" */
        char cu[160];
        if (x->ips[i].type != 1 || strncmp(ip, name, n) || ip[n] != ':') continue;
        snprintf(cu, sizeof cu, "%s:{%s}", name, ip + n + 1);
        k->unit[k->n_units] = xrt.xrtPLKernelOpen(c->device, uuid, cu);
        if (!k->unit[k->n_units])
            return lpo_fail(err, LPO_EDEVICE,
                            "compute unit %s does not open (does another program hold the card?)", cu);
        k->n_units++;
    }
    return LPO_OK;
}

static void close_card(void *card) {
    xrt_card *c = card;
    if (!c) return;
    for (int k = 0; k < LPO_HLS_N_KERNELS; k++)
        for (int u = 0; u < c->kernel[k].n_units; u++) xrt.xrtKernelClose(c->kernel[k].unit[u]);
    if (c->device) xrt.xrtDeviceClose(c->device);
    free(c);
}

static lpo_status open_card(void **card, char name[128], int index, const lpo_xclbin *x, const char *path,
                            lpo_error *err) {
    xuid_t uuid;
    int n_units = 0;
    lpo_status st = LPO_OK;
    xrt_card *c = calloc(1, sizeof *c);
    if (!c) return lpo_fail(err, LPO_ENOMEM, "out of memory");
    c->device = xrt.xrtDeviceOpen((unsigned)index);
    if (!c->device)
        st = lpo_fail(err, LPO_EDEVICE, "card %d does not open (xbutil examine shows its state)", index);
    else if (xrt.xrtDeviceLoadXclbinFile(c->device, path))
        st = lpo_fail(err, LPO_EDEVICE, "card %d does not load %.300s (is it for this platform, %s?)", index,
                      path, x->platform);
    else
        xrt.xrtDeviceGetXclbinUUID(c->device, uuid);
    for (int k = 0; !st && k < LPO_HLS_N_KERNELS; k++) {
        st = open_kernel(c, k, x, uuid, err);
        n_units += c->kernel[k].n_units;
    }
    if (st) {
        close_card(c);
        return st;
    }
    snprintf(name, 128, "fpga:%d (%.64s, %s, %d CUs)", index, x->platform, lpo_xclbin_mode_name(x->mode),
             n_units);
    *card = c;
    return LPO_OK;
}

static int units(void *card, int kernel) {
    return ((xrt_card *)card)->kernel[kernel].n_units;
}

/* ---- buffers and runs ---- */

/* The bank is asked for: assuming the first works on cards with one bank and fails on all others. */
static lpo_status alloc(fpga_buffer *out, void *card, int kernel, int unit, int arg, size_t size_bytes,
                        lpo_error *err) {
    xrt_card *c = card;
    size_t whole = (size_bytes + 4095) & ~(size_t)4095;
    int bank = xrt.xrtKernelArgGroupId(c->kernel[kernel].unit[unit], arg);
    xrtBufferHandle bo =
        bank < 0 ? NULL : xrt.xrtBOAlloc(c->device, whole, XRT_BO_FLAGS_NONE, (xrtMemoryGroup)bank);
    void *host = bo ? xrt.xrtBOMap(bo) : NULL;
    *out = (fpga_buffer){host, whole, bo};
    if (host) return LPO_OK;
    if (bo) xrt.xrtBOFree(bo);
    *out = (fpga_buffer){0};
    return lpo_fail(err, LPO_EDEVICE, "bank %d has no %zu bytes for argument %s of %s", bank, whole,
                    lpo_hls_kernels[kernel].args[arg].name, lpo_hls_kernels[kernel].name);
}

static void release(fpga_buffer *b) {
    if (b->handle) xrt.xrtBOFree(b->handle);
    *b = (fpga_buffer){0};
}

static lpo_status sync_buffer(const fpga_buffer *b, size_t size_bytes, bool to_card, lpo_error *err) {
    size_t whole = (size_bytes + 63) & ~(size_t)63;
    if (!xrt.xrtBOSync(b->handle, to_card ? XCL_BO_SYNC_BO_TO_DEVICE : XCL_BO_SYNC_BO_FROM_DEVICE,
                       whole < b->size_bytes ? whole : b->size_bytes, 0))
        return LPO_OK;
    return lpo_fail(err, LPO_EDEVICE, "moving %zu bytes %s the card failed (%s)", size_bytes,
                    to_card ? "to" : "from", strerror(errno));
}

static lpo_status run_open(void **run, void *card, int kernel, int unit, lpo_error *err) {
    xrt_card *c = card;
    xrt_run *r = malloc(sizeof *r);
    if (!r) return lpo_fail(err, LPO_ENOMEM, "out of memory");
    *r =
        (xrt_run){&lpo_hls_kernels[kernel], &c->kernel[kernel], xrt.xrtRunOpen(c->kernel[kernel].unit[unit])};
    if (!r->run) {
        free(r);
        return lpo_fail(err, LPO_EDEVICE, "no run of %s can be made", lpo_hls_kernels[kernel].name);
    }
    *run = r;
    return LPO_OK;
}

static void run_close(void *run) {
    xrt_run *r = run;
    if (!r) return;
    xrt.xrtRunClose(r->run);
    free(r);
}

static int set_scalar(const xrt_run *r, int a, const void *at) {
    uint32_t word;
    uint64_t wide;
    float f;
    double d;
    if (r->kernel->is_double[a]) return memcpy(&d, at, sizeof d), xrt.xrtRunSetArg(r->run, a, d);
    if (r->kernel->is_float[a]) return memcpy(&f, at, sizeof f), xrt.xrtRunSetArg(r->run, a, (double)f);
    if (r->row->args[a].size_bytes == 8)
        return memcpy(&wide, at, sizeof wide), xrt.xrtRunSetArg(r->run, a, wide);
    return memcpy(&word, at, sizeof word), xrt.xrtRunSetArg(r->run, a, word);
}

static lpo_status start(void *run, const void *args, const fpga_buffer *buffers, lpo_error *err) {
    xrt_run *r = run;
    int bad = 0;
    for (int a = 0; a < r->row->n_args && !bad; a++)
        bad = r->row->args[a].kind == HLS_GLOBAL
                  ? xrt.xrtRunSetArg(r->run, a, (xrtBufferHandle)buffers[a].handle)
                  : set_scalar(r, a, (const char *)args + r->row->args[a].struct_offset);
    if (!bad && !xrt.xrtRunStart(r->run)) return LPO_OK;
    return lpo_fail(err, LPO_EDEVICE, "the card takes no run of %s", r->row->name);
}

static fpga_end wait_run(void *run, int timeout_ms, double *modelled_s) {
    *modelled_s = 0;
    switch (xrt.xrtRunWaitFor(((xrt_run *)run)->run, (unsigned)timeout_ms)) {
    case ERT_CMD_STATE_COMPLETED: return FPGA_DONE;
    case ERT_CMD_STATE_TIMEOUT:
    case ERT_CMD_STATE_RUNNING:
    case ERT_CMD_STATE_QUEUED:
    case ERT_CMD_STATE_SUBMITTED: return FPGA_TIMEOUT;
    default: return FPGA_ABORT;
    }
}

const fpga_link fpga_link_xrt = {.host_memory = false,
                                 .open = open_card,
                                 .close = close_card,
                                 .units = units,
                                 .alloc = alloc,
                                 .release = release,
                                 .sync = sync_buffer,
                                 .run_open = run_open,
                                 .run_close = run_close,
                                 .start = start,
                                 .wait = wait_run};
#endif
