/* SPDX-License-Identifier: Apache-2.0 */
/* shim.c -- the software card as XRT sees it: this library takes the place of libxrt_swemu.so.2 and exports
 * the xcl functions below XRT's core. XRT's own registration objects are linked in, so no C++ is written
 * here; two of its functions are called by their mangled names. The card process lives from the first
 * container to the last close. */
#include "shim.h"

#include "base/json.h"
#include "leanpo/xclbin.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xclbin.h>
#include <xrt.h>

/* std::shared_ptr<xrt_core::device> xrt_core::swemu::get_userpf_device(void *, unsigned): returned in memory,
 * so the address of the result is a hidden first argument. */
typedef struct shared_ptr {
    void *object, *count;
} shared_ptr;
shared_ptr *get_userpf_device(shared_ptr *out, void *handle,
                              unsigned id) __asm__("_ZN8xrt_core5swemu17get_userpf_deviceEPvj");
void register_axlf(void *device,
                   const struct axlf *top) __asm__("_ZN8xrt_core6device13register_axlfEPK4axlf");

/* xrt.h declares these without a prototype. */
XCL_DRIVER_DLLESPEC unsigned xclProbe(void);
XCL_DRIVER_DLLESPEC unsigned xclVersion(void);

static card cards[MAX_CARDS];
static int n_opened; /* handles to any of them */
static pthread_mutex_t open_lock = PTHREAD_MUTEX_INITIALIZER;

void card_say(const char *fmt, ...) {
    char line[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    fprintf(stderr, "leanpo-card: %s\n", line);
}

/* LEANPO_CARD_COUNT, else NumDevices of emconfig.json, else one. */
static unsigned count_cards(void) {
    const char *set = getenv("LEANPO_CARD_COUNT"), *dir = getenv("EMCONFIG_PATH");
    unsigned long n = set && *set ? strtoul(set, NULL, 10) : 0;
    char path[4096];
    json_t *config = NULL, *board, *device;
    size_t b, d;
    if (!n && snprintf(path, sizeof path, "%s/emconfig.json", dir && *dir ? dir : ".") < (int)sizeof path &&
        !lpo_json_load(&config, path, 1 << 20, NULL))
        json_array_foreach(json_object_get(json_object_get(config, "Platform"), "Boards"), b, board)
            json_array_foreach(json_object_get(board, "Devices"), d, device) {
            const char *number = json_string_value(json_object_get(device, "NumDevices"));
            n += number ? strtoul(number, NULL, 10) : 1;
        }
    json_decref(config);
    return n < 1 ? 1 : n > MAX_CARDS ? MAX_CARDS : (unsigned)n;
}

unsigned xclProbe(void) {
    static unsigned n;
    pthread_mutex_lock(&open_lock);
    if (!n) n = count_cards();
    pthread_mutex_unlock(&open_lock);
    return n;
}

unsigned xclVersion(void) {
    return 2; /* 1 makes XRT's OpenCL speak of a legacy driver */
}

static bool is_set(const char *name) {
    const char *v = getenv(name);
    return v && strcmp(v, "1") == 0;
}

static bool prepare(card *c) {
    pthread_condattr_t monotonic;
    c->index = (unsigned)(c - cards);
    c->socket = -1;
    c->zero_copy = is_set("LEANPO_CARD_SHARED");
    c->registers_fd = memfd_create("leanpo-registers", MFD_CLOEXEC);
    if (c->registers_fd < 0 || ftruncate(c->registers_fd, WIRE_CUS * WIRE_REGS)) return false;
    c->registers = mmap(NULL, WIRE_CUS * WIRE_REGS, PROT_READ | PROT_WRITE, MAP_SHARED, c->registers_fd, 0);
    if (c->registers == MAP_FAILED) return false;
    pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&c->done, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return true;
}

xclDeviceHandle xclOpen(unsigned index, const char *log, enum xclVerbosityLevel level) {
    (void)log;
    (void)level;
    if (index >= xclProbe()) return NULL;
    card *c = &cards[index];
    pthread_mutex_lock(&open_lock);
    bool ok = c->registers || prepare(c);
    if (ok && !n_opened++) trace_open();
    if (ok) c->opened++;
    pthread_mutex_unlock(&open_lock);
    if (!ok) return NULL;
    if (!c->core[0]) get_userpf_device((shared_ptr *)c->core, c, index);
    return c;
}

void xclClose(xclDeviceHandle handle) {
    card *c = handle;
    pthread_mutex_lock(&open_lock);
    if (c->opened && !--c->opened) {
        link_stop(c);
        pthread_mutex_lock(&c->lock);
        memset(c->uuid, 0, sizeof c->uuid);
        c->n_units = 0;
        pthread_mutex_unlock(&c->lock);
    }
    if (n_opened && !--n_opened) trace_close();
    pthread_mutex_unlock(&open_lock);
}

int xclGetDeviceInfo2(xclDeviceHandle handle, struct xclDeviceInfo2 *info) {
    card *c = handle;
    memset(info, 0, sizeof *info);
    info->mMagic = 0X586C0C6C;
    strcpy(info->mName, "leanpo_card_emulation_1");
    info->mHALMajorVersion = 2;
    info->mDDRSize = info->mDDRFreeSize = WIRE_RANGE;
    info->mDataAlignment = PAGE;
    info->mMinTransferSize = 1;
    info->mDDRBankCount = (unsigned short)(c->n_banks ? c->n_banks : 1);
    for (int i = 0; i < 4; i++) info->mOCLFrequency[i] = 300;
    return 0;
}

static int by_base(const void *a, const void *b) {
    const unit *x = a, *y = b;
    return (x->base > y->base) - (x->base < y->base);
}

static void find_memory(unit *u, const lpo_xclbin *x) {
    size_t n = strcspn(u->name, ":");
    for (int k = 0; k < x->n_kernels; k++) {
        if (strlen(x->kernels[k].name) != n || memcmp(x->kernels[k].name, u->name, n)) continue;
        for (int i = 0; i < x->kernels[k].n_args && u->n_memory < MAX_ARGS; i++) {
            const lpo_xclbin_arg *a = &x->kernels[k].args[i];
            if (a->qualifier != 1 || a->offset > WIRE_REGS - sizeof(uint64_t)) continue;
            u->memory[u->n_memory].offset = (uint16_t)a->offset;
            u->memory[u->n_memory++].output = strncmp(a->type, "const ", 6) != 0;
        }
    }
}

/* A name of the container, fit for a line of JSON. */
static void take_name(char *out, const char *name) {
    for (; *name; name++) *out++ = *name < ' ' || *name > '~' || *name == '"' || *name == '\\' ? '?' : *name;
    *out = 0;
}

static int timeout_ms(void) {
    const char *set = getenv("LEANPO_CARD_TIMEOUT_MS");
    long ms = set ? strtol(set, NULL, 10) : 0;
    return ms < 0 ? 0 : ms > 86400000 ? 86400000 : (int)ms;
}

/* Compute units in XRT's order (rank by base address) and memory banks. */
static int configure(card *c, const lpo_xclbin *x) {
    c->timeout_ms = timeout_ms();
    c->poison = is_set("LEANPO_CARD_POISON");
    c->n_units = c->n_banks = 0;
    if (x->n_memories > MAX_BANKS) return -E2BIG;
    for (int i = 0; i < x->n_memories; i++) {
        uint64_t base = x->memories[i].base, kib = x->memories[i].size_kib;
        if (!x->memories[i].used || x->memories[i].type == MEM_STREAMING) base = kib = 0;
        if (base > WIRE_RANGE || kib > (WIRE_RANGE - base) >> 10) {
            card_say("memory \"%s\" ends beyond the card's 64 GiB of addresses", x->memories[i].tag);
            return -E2BIG;
        }
        take_name(c->bank[i].tag, x->memories[i].tag);
        c->bank[i].base = base;
        c->bank[i].size = kib << 10;
    }
    c->n_banks = x->n_memories;
    for (int i = 0; i < x->n_ips && c->n_units < WIRE_CUS; i++) {
        if (x->ips[i].type != IP_KERNEL) continue;
        unit *u = &c->unit[c->n_units++];
        *u = (unit){.base = x->ips[i].base};
        strcpy(u->name, x->ips[i].name);
        find_memory(u, x);
        take_name(u->name, x->ips[i].name);
    }
    c->clock_hz = 300000000;
    for (int i = 0; i < x->n_clocks; i++)
        if (x->clocks[i].type == CT_DATA && x->clocks[i].mhz)
            c->clock_hz = x->clocks[i].mhz * UINT64_C(1000000);
    qsort(c->unit, (size_t)c->n_units, sizeof *c->unit, by_base);
    return 0;
}

static int load_image(card *c, const lpo_xclbin_section *so) {
    int fd = memfd_create("leanpo-kernels", MFD_CLOEXEC), e = 0;
    if (fd < 0) return -errno;
    for (uint64_t at = 0; at < so->size_bytes && !e;) {
        ssize_t n = write(fd, (const char *)so->data + at, so->size_bytes - at);
        if (n > 0)
            at += (uint64_t)n;
        else if (errno != EINTR)
            e = -errno;
    }
    if (!e) e = link_start(c, fd);
    close(fd);
    return e;
}

/* The same container on a living card is already there, as on hardware. But a program that loads it again
 * after a run was given up, or, alone with the card, while one is under way, asks for a reset. */
static bool wants_reset(card *c) {
    int lost = 0, queued = 0;
    pthread_mutex_lock(&c->lock);
    for (int i = 0; i < c->n_units; i++) lost += c->unit[i].lost, queued += c->unit[i].queued;
    bool yes = !c->alive || lost || c->timeout_ms != timeout_ms() || (queued && c->opened == 1);
    pthread_mutex_unlock(&c->lock);
    return yes;
}

int xclLoadXclBin(xclDeviceHandle handle, const struct axlf *top) {
    static unsigned n_loads;
    card *c = handle;
    lpo_xclbin *x = NULL;
    lpo_error err;
    if (fault_now("load", "", __atomic_add_fetch(&n_loads, 1, __ATOMIC_RELAXED))) return -EIO;
    if (lpo_xclbin_parse(&x, top, top->m_header.m_length, "container", &err) ||
        lpo_xclbin_check_card(x, "container", &err)) {
        card_say("%s", err.msg);
        lpo_xclbin_close(x);
        return -EINVAL;
    }
    bool same = !memcmp(c->uuid, top->m_header.uuid, sizeof c->uuid) && !wants_reset(c);
    int e = 0;
    if (!same) {
        link_stop(c);
        pthread_mutex_lock(&c->lock);
        e = configure(c, x);
        pthread_mutex_unlock(&c->lock);
        if (!e) e = load_image(c, lpo_xclbin_find(x, LPO_XCLBIN_BITSTREAM));
        if (!e) memcpy(c->uuid, top->m_header.uuid, sizeof c->uuid);
    }
    lpo_xclbin_close(x);
    if (!e) register_axlf(c->core[0], top);
    return e;
}
