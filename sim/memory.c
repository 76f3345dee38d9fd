/* SPDX-License-Identifier: Apache-2.0 */
/* memory.c -- buffers. Device memory is a memfd mapped here and in the card; the host has its own copy, and a
 * sync is a memcpy between them: a program that forgets one reads stale data here as it would on hardware.
 * LEANPO_CARD_SHARED=1 makes both the same memory. Addresses are first-fit inside the bank the flags name and
 * are used again after a free; what does not fit in the bank is refused as the driver would. */
#include "shim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xrt.h>
#include <xrt_mem.h>

static const unsigned NO_BO = 0xffffffffu;
enum { HUGE = 2 << 20 };

store *store_of(card *c, unsigned handle) {
    return handle < c->n_handles ? c->handle[handle] : NULL;
}

store *store_at(const card *c, uint64_t address) {
    store *s = c->stores;
    while (s && (address < s->address || address - s->address >= s->span)) s = s->next;
    return s;
}

/* Large ones on the boundary of a huge page: transfers are a tenth faster, first touches far more. */
static void *map_anywhere(size_t span, int fd) {
    size_t slack = span >= HUGE ? HUGE : 0;
    int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
    char *room = mmap(NULL, span + slack, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED) return room;
    size_t before = slack ? (HUGE - (uintptr_t)room % HUGE) % HUGE : 0;
    if (before) munmap(room, before);
    if (slack > before) munmap(room + before + span, slack - before);
    void *p = mmap(room + before, span, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0);
    if (p == MAP_FAILED)
        munmap(room + before, span);
    else if (slack)
        madvise(p, span, MADV_HUGEPAGE);
    return p;
}

static void destroy(store *s) {
    if (s->own_host && s->host && s->host != s->device) munmap(s->host, s->span);
    if (s->device) munmap(s->device, s->span);
    if (s->fd >= 0) close(s->fd);
    free(s);
}

void store_drop(card *c, store *s) {
    if (--s->refs) return;
    if (s->fd >= 0) {
        for (store **p = &c->stores; *p; p = &(*p)->next)
            if (*p == s) {
                *p = s->next;
                break;
            }
        wire_command m = {.type = WIRE_UNMAP, .address = s->address, .size = s->span};
        if (c->alive) link_send(c, &m, 0, -1);
    }
    destroy(s);
}

/* Links s into its bank at the first gap that holds it. The first page of the space stays empty: address 0 is
 * NULL. */
static bool place(card *c, store *s) {
    uint64_t base = 0, end = WIRE_RANGE;
    if (c->n_banks) {
        if (s->bank >= (unsigned)c->n_banks) return false;
        base = c->bank[s->bank].base;
        end = base + c->bank[s->bank].size;
    }
    uint64_t at = base ? base : PAGE;
    store **p = &c->stores;
    for (; *p; p = &(*p)->next) {
        if ((*p)->address + (*p)->span <= at) continue;
        if ((*p)->address >= end || (*p)->address >= at + s->span) break;
        at = (*p)->address + (*p)->span;
    }
    if (at > end || s->span > end - at) return false;
    s->address = at;
    s->next = *p;
    *p = s;
    return true;
}

static unsigned give_handle(card *c, store *s) {
    unsigned h = 0;
    while (h < c->n_handles && c->handle[h]) h++;
    if (h == c->n_handles) {
        unsigned n = c->n_handles ? c->n_handles * 2 : 64;
        store **grown = realloc(c->handle, n * sizeof *grown);
        if (!grown) return NO_BO;
        memset(grown + c->n_handles, 0, (n - c->n_handles) * sizeof *grown);
        c->handle = grown;
        c->n_handles = n;
    }
    c->handle[h] = s;
    return h;
}

/* Memory behind a new buffer: device side from fd (taken over; or a new memfd), host side separate, the same,
 * or the user's. */
static store *create(card *c, size_t size, unsigned flags, void *user, int fd) {
    store *s = calloc(1, sizeof *s);
    struct stat st;
    if (!s) {
        if (fd >= 0) close(fd);
        return NULL;
    }
    *s = (store){.refs = 1, .fd = fd, .flags = flags, .bank = flags & XRT_BO_FLAGS_MEMIDX_MASK, .size = size};
    s->span = (size + PAGE - 1) & ~(size_t)(PAGE - 1);
    s->host = user;
    s->own_host = !user;
    if (flags & XCL_BO_FLAGS_EXECBUF) {
        s->host = map_anywhere(s->span, -1);
        if (s->host != MAP_FAILED) return s;
        free(s);
        return NULL;
    }
    if (!size) goto fail; /* an injected fault */
    if (fd < 0) {
        s->fd = memfd_create("leanpo-buffer", MFD_CLOEXEC);
        if (s->fd < 0 || ftruncate(s->fd, (off_t)s->span)) goto fail;
    }
    if (fstat(s->fd, &st)) goto fail;
    s->dev_id = st.st_dev;
    s->inode = st.st_ino;
    void *p = map_anywhere(s->span, s->fd);
    if (p == MAP_FAILED) goto fail;
    s->device = p;
    if (!user) {
        p = c->zero_copy ? s->device : map_anywhere(s->span, -1);
        if (p == MAP_FAILED) goto fail;
        s->host = p;
    }
    return s;
fail:
    destroy(s);
    return NULL;
}

static unsigned allocate(card *c, size_t size, unsigned flags, void *user, int fd) {
    static unsigned n_allocations; /* of all cards */
    bool command = flags & XCL_BO_FLAGS_EXECBUF;
    if (!size || size > WIRE_RANGE) {
        if (fd >= 0) close(fd);
        return NO_BO;
    }
    pthread_mutex_lock(&c->lock);
    unsigned h = NO_BO;
    bool spoiled =
        !command && fault_now("alloc", "", __atomic_add_fetch(&n_allocations, 1, __ATOMIC_RELAXED));
    store *s = create(c, spoiled ? 0 : size, flags, user, fd);
    if (s && !command && !place(c, s)) {
        card_say("no %zu bytes left in memory bank %u", size, s->bank);
        destroy(s);
        s = NULL;
    }
    if (s) {
        h = give_handle(c, s);
        if (h == NO_BO)
            store_drop(c, s);
        else if (!command)
            link_map(c, s);
    }
    pthread_mutex_unlock(&c->lock);
    if (h == NO_BO) errno = ENOMEM;
    return h;
}

xclBufferHandle xclAllocBO(xclDeviceHandle handle, size_t size, int unused, unsigned flags) {
    (void)unused;
    return allocate(handle, size, flags, NULL, -1);
}

xclBufferHandle xclAllocUserPtrBO(xclDeviceHandle handle, void *userptr, size_t size, unsigned flags) {
    return allocate(handle, size, flags, userptr, -1);
}

void xclFreeBO(xclDeviceHandle handle, xclBufferHandle bo) {
    card *c = handle;
    pthread_mutex_lock(&c->lock);
    store *s = store_of(c, bo);
    if (s) {
        c->handle[bo] = NULL;
        store_drop(c, s);
    }
    pthread_mutex_unlock(&c->lock);
}

void *xclMapBO(xclDeviceHandle handle, xclBufferHandle bo, bool write) {
    card *c = handle;
    (void)write;
    pthread_mutex_lock(&c->lock);
    store *s = store_of(c, bo);
    void *p = s ? s->host : NULL;
    pthread_mutex_unlock(&c->lock);
    return p;
}

int xclUnmapBO(xclDeviceHandle handle, xclBufferHandle bo, void *addr) {
    (void)handle;
    (void)bo;
    (void)addr; /* the mapping lives as long as the buffer */
    return 0;
}

int xclSyncBO(xclDeviceHandle handle, xclBufferHandle bo, enum xclBOSyncDirection dir, size_t size,
              size_t offset) {
    static unsigned n_transfers;
    card *c = handle;
    pthread_mutex_lock(&c->lock);
    store *s = store_of(c, bo);
    if (s) s->refs++;
    if (s && fault_now("short", "", __atomic_add_fetch(&n_transfers, 1, __ATOMIC_RELAXED))) size /= 2;
    pthread_mutex_unlock(&c->lock);
    if (!s) return -EINVAL;
    int e = 0;
    double start_s = trace_on() ? now_s() : 0;
    if (!s->device || offset > s->span || size > s->span - offset)
        e = -EINVAL;
    else if (s->host != s->device && dir == XCL_BO_SYNC_BO_TO_DEVICE)
        memcpy(s->device + offset, s->host + offset, size);
    else if (s->host != s->device && dir == XCL_BO_SYNC_BO_FROM_DEVICE)
        memcpy(s->host + offset, s->device + offset, size);
    pthread_mutex_lock(&c->lock);
    if (trace_on() && !e)
        trace_transfer(c, dir == XCL_BO_SYNC_BO_TO_DEVICE ? "h2d" : "d2h", s->bank, size, start_s);
    store_drop(c, s);
    pthread_mutex_unlock(&c->lock);
    return e;
}

int xclCopyBO(xclDeviceHandle handle, xclBufferHandle dst_bo, xclBufferHandle src_bo, size_t size,
              size_t dst_offset, size_t src_offset) {
    card *c = handle;
    pthread_mutex_lock(&c->lock);
    store *d = store_of(c, dst_bo), *s = store_of(c, src_bo);
    int e = -EINVAL;
    if (d && s && d->device && s->device && dst_offset <= d->span && size <= d->span - dst_offset &&
        src_offset <= s->span && size <= s->span - src_offset) {
        memmove(d->device + dst_offset, s->device + src_offset, size);
        e = 0;
    }
    pthread_mutex_unlock(&c->lock);
    return e;
}

int xclGetBOProperties(xclDeviceHandle handle, xclBufferHandle bo, struct xclBOProperties *out) {
    card *c = handle;
    pthread_mutex_lock(&c->lock);
    store *s = store_of(c, bo);
    if (s)
        *out =
            (struct xclBOProperties){.handle = bo, .flags = s->flags, .size = s->size, .paddr = s->address};
    pthread_mutex_unlock(&c->lock);
    return s ? 0 : -EINVAL;
}

xclBufferExportHandle xclExportBO(xclDeviceHandle handle, xclBufferHandle bo) {
    card *c = handle;
    pthread_mutex_lock(&c->lock);
    store *s = store_of(c, bo);
    int fd = s && s->fd >= 0 ? dup(s->fd) : -1;
    pthread_mutex_unlock(&c->lock);
    return fd;
}

/* A buffer exported by this process is the same buffer again, at its address; another process's gets an
 * address of its own in bank `flags`, over the same device memory. */
xclBufferHandle xclImportBO(xclDeviceHandle handle, xclBufferExportHandle fd, unsigned flags) {
    card *c = handle;
    struct stat st;
    if (fstat(fd, &st)) return NO_BO;
    pthread_mutex_lock(&c->lock);
    store *s = c->stores;
    while (s && (s->dev_id != st.st_dev || s->inode != st.st_ino)) s = s->next;
    unsigned h = s ? give_handle(c, s) : NO_BO;
    if (h != NO_BO) s->refs++;
    pthread_mutex_unlock(&c->lock);
    if (s) return h;
    int own = dup(fd);
    return own < 0 ? NO_BO : allocate(c, (size_t)st.st_size, flags & ~XCL_BO_FLAGS_EXECBUF, NULL, own);
}
