/* SPDX-License-Identifier: Apache-2.0 */
/* parse.c -- a container from bytes, every offset and length checked before it is used.
 * The object, its tables and a copy of the bytes live in one arena. Order of checks: header, section table,
 * overlaps, then each table that is understood; sections of other kinds are only known to lie inside. */
#include "base/arena.h"
#include "base/file.h"
#include "leanpo/xclbin.h"
#include "xclbin/format.h"
#include "xclbin/metadata.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const kind_names[] = {
    "BITSTREAM",
    "CLEARING_BITSTREAM",
    "EMBEDDED_METADATA",
    "FIRMWARE",
    "DEBUG_DATA",
    "SCHED_FIRMWARE",
    "MEM_TOPOLOGY",
    "CONNECTIVITY",
    "IP_LAYOUT",
    "DEBUG_IP_LAYOUT",
    "DESIGN_CHECK_POINT",
    "CLOCK_FREQ_TOPOLOGY",
    "MCS",
    "BMC",
    "BUILD_METADATA",
    "KEYVALUE_METADATA",
    "USER_METADATA",
    "DNA_CERTIFICATE",
    "PDI",
    "BITSTREAM_PARTIAL_PDI",
    "PARTITION_METADATA",
    "EMULATION_DATA",
    "SYSTEM_METADATA",
    "SOFT_KERNEL",
    "ASK_FLASH",
    "AIE_METADATA",
    "ASK_GROUP_TOPOLOGY",
    "ASK_GROUP_CONNECTIVITY",
    "SMARTNIC",
    "AIE_RESOURCES",
    "OVERLAY",
    "VENDER_METADATA",
    "AIE_PARTITION",
    "IP_METADATA",
    "AIE_RESOURCES_BIN",
    "AIE_TRACE_METADATA",
};
enum { N_KINDS = sizeof kind_names / sizeof *kind_names, DEBUG_IP_LAYOUT = 9, GROUP_TOPOLOGY = 26 };

const char *lpo_xclbin_kind_name(uint32_t kind) {
    return kind < N_KINDS ? kind_names[kind] : NULL;
}

int lpo_xclbin_kind_of(const char *name) {
    for (int i = 0; i < N_KINDS; i++)
        if (!strcmp(name, kind_names[i])) return i;
    return -1;
}

const char *lpo_xclbin_mode_name(unsigned mode) {
    static const char *const names[] = {"flat", "pr", "tandem", "tandem_pr", "hw_emu", "sw_emu", "hw_emu_pr"};
    return mode < sizeof names / sizeof *names ? names[mode] : "unknown";
}

typedef struct parser {
    lpo_xclbin *x;
    lpo_arena *arena;
    const uint8_t *data;
    size_t size;
    const char *where;
    lpo_error *err;
} parser;

static lpo_status no_memory(parser *p) {
    return lpo_fail(p->err, LPO_ENOMEM, "%s: out of memory", p->where);
}

/* A fixed field of n bytes that must hold its terminating NUL (the last byte is not text). */
static lpo_status take_text(parser *p, char *out, const uint8_t *from, size_t n, const char *what) {
    if (!memchr(from, 0, n))
        return lpo_fail(p->err, LPO_EFORMAT, "%s: byte %zu: %s is not NUL-terminated in its %zu bytes",
                        p->where, (size_t)(from - p->data), what, n);
    memcpy(out, from, n);
    return LPO_OK;
}

static lpo_status take_header(parser *p) {
    lpo_xclbin *x = p->x;
    const uint8_t *d = p->data;
    if (p->size < 8 || memcmp(d, "xclbin2", 8))
        return lpo_fail(p->err, LPO_EFORMAT, "%s: byte 0: not an xclbin (it does not begin with \"xclbin2\")",
                        p->where);
    if (p->size < XB_LEAST)
        return lpo_fail(p->err, LPO_EFORMAT, "%s: truncated: %zu bytes, the header alone is %d", p->where,
                        p->size, XB_LEAST);
    x->size_bytes = xb_u64(d + XB_LENGTH);
    if (x->size_bytes < XB_LEAST || x->size_bytes > p->size)
        return lpo_fail(p->err, LPO_EFORMAT,
                        "%s: byte %d: the header says %" PRIu64
                        " bytes, the file has %zu: truncated or overwritten",
                        p->where, XB_LENGTH, x->size_bytes, p->size);
    x->signature_bytes = (int)xb_u32(d + XB_SIGNATURE);
    x->timestamp = xb_u64(d + XB_TIME);
    x->version[0] = d[XB_PATCH + 2];
    x->version[1] = d[XB_PATCH + 3];
    x->version[2] = xb_u16(d + XB_PATCH);
    x->mode = xb_u16(d + XB_MODE);
    lpo_status st = take_text(p, x->platform, d + XB_PLATFORM, 64, "the platform name");
    if (st) return st;
    char *u = x->uuid;
    for (int i = 0; i < 16; i++)
        u += sprintf(u, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", d[XB_UUID + i]);
    return LPO_OK;
}

static int by_offset(const void *a, const void *b) {
    const lpo_xclbin_section *x = a, *y = b;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    return (x->size_bytes > y->size_bytes) - (x->size_bytes < y->size_bytes);
}

static lpo_status refuse_overlap(parser *p) {
    lpo_xclbin_section order[XB_SECTIONS];
    memcpy(order, p->x->sections, (size_t)p->x->n_sections * sizeof *order);
    qsort(order, (size_t)p->x->n_sections, sizeof *order, by_offset);
    for (int i = 1; i < p->x->n_sections; i++)
        if (order[i - 1].offset + order[i - 1].size_bytes > order[i].offset)
            return lpo_fail(p->err, LPO_EFORMAT,
                            "%s: byte %" PRIu64 ": section \"%s\" begins inside section \"%s\"", p->where,
                            order[i].offset, order[i].name, order[i - 1].name);
    return LPO_OK;
}

static lpo_status take_sections(parser *p) {
    uint32_t n = xb_u32(p->data + XB_COUNT);
    if (n < 1 || n > XB_SECTIONS)
        return lpo_fail(p->err, LPO_EFORMAT, "%s: byte %d: %" PRIu32 " sections, 1..%d expected", p->where,
                        XB_COUNT, n, XB_SECTIONS);
    uint64_t table_end = XB_TABLE + (uint64_t)n * XB_ENTRY;
    if (table_end > p->x->size_bytes)
        return lpo_fail(p->err, LPO_EFORMAT,
                        "%s: byte %d: the table of %" PRIu32 " sections does not fit in the file", p->where,
                        XB_TABLE, n);
    if (!(p->x->sections = lpo_arena_alloc(p->arena, n, sizeof *p->x->sections))) return no_memory(p);
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *e = p->data + XB_TABLE + (size_t)i * XB_ENTRY;
        lpo_xclbin_section *s = &p->x->sections[i];
        s->kind = xb_u32(e);
        memcpy(s->name, e + 4, 16); /* 16 characters need no NUL: some tools fill it */
        s->offset = xb_u64(e + 24);
        s->size_bytes = xb_u64(e + 32);
        if (s->offset < table_end || s->offset > p->x->size_bytes ||
            s->size_bytes > p->x->size_bytes - s->offset)
            return lpo_fail(p->err, LPO_EFORMAT,
                            "%s: byte %zu: section %" PRIu32 " \"%s\" claims bytes %" PRIu64 "+%" PRIu64
                            ", allowed are %" PRIu64 "..%" PRIu64,
                            p->where, (size_t)(e - p->data), i, s->name, s->offset, s->size_bytes, table_end,
                            p->x->size_bytes);
        s->data = p->data + s->offset;
    }
    p->x->n_sections = (int)n;
    return refuse_overlap(p);
}

/* The first record of a counted section and the count; *n is 0 when the container has none of that kind. */
static lpo_status table_of(parser *p, uint32_t kind, size_t head, size_t record, const uint8_t **first,
                           int *n) {
    const lpo_xclbin_section *s = lpo_xclbin_find(p->x, kind);
    *n = 0;
    *first = NULL;
    if (!s) return LPO_OK;
    const char *name = lpo_xclbin_kind_name(kind);
    int64_t count = -1;
    if (s->size_bytes >= head) count = head == 2 ? (int16_t)xb_u16(s->data) : (int32_t)xb_u32(s->data);
    if (kind == DEBUG_IP_LAYOUT && count >= 0) count = xb_u16(s->data);
    if (count < 0 || (uint64_t)count > (s->size_bytes - head) / record)
        return lpo_fail(p->err, LPO_EFORMAT,
                        "%s: byte %" PRIu64 ": %s says %" PRId64
                        " records of %zu bytes, its section has %" PRIu64 " bytes",
                        p->where, s->offset, name, count, record, s->size_bytes);
    *first = (const uint8_t *)s->data + head;
    *n = (int)count;
    return LPO_OK;
}

static lpo_status take_memories(parser *p) {
    const uint8_t *r;
    int n;
    lpo_status st = table_of(p, LPO_XCLBIN_MEMORY, XB_MEM_HEAD, XB_MEM, &r, &n);
    if (st || !n) return st;
    if (!(p->x->memories = lpo_arena_alloc(p->arena, (size_t)n, sizeof *p->x->memories))) return no_memory(p);
    for (int i = 0; i < n; i++, r += XB_MEM) {
        lpo_xclbin_memory *m = &p->x->memories[i];
        m->type = r[0];
        m->used = r[1];
        m->size_kib = xb_u64(r + 8);
        m->base = xb_u64(r + 16);
        if ((st = take_text(p, m->tag, r + 24, 16, "a memory's tag"))) return st;
    }
    p->x->n_memories = n;
    return LPO_OK;
}

static lpo_status take_ips(parser *p) {
    const uint8_t *r;
    int n;
    lpo_status st = table_of(p, LPO_XCLBIN_IP_LAYOUT, XB_IP_HEAD, XB_IP, &r, &n);
    if (st || !n) return st;
    if (!(p->x->ips = lpo_arena_alloc(p->arena, (size_t)n, sizeof *p->x->ips))) return no_memory(p);
    for (int i = 0; i < n; i++, r += XB_IP) {
        lpo_xclbin_ip *ip = &p->x->ips[i];
        ip->type = xb_u32(r);
        ip->properties = xb_u32(r + 4);
        ip->base = xb_u64(r + 8);
        if ((st = take_text(p, ip->name, r + 16, 64, "an IP's name"))) return st;
    }
    p->x->n_ips = n;
    return LPO_OK;
}

static lpo_status take_connections(parser *p) {
    const uint8_t *r;
    int n;
    lpo_status st = table_of(p, LPO_XCLBIN_CONNECTIVITY, XB_CON_HEAD, XB_CON, &r, &n);
    if (st || !n) return st;
    if (!(p->x->connections = lpo_arena_alloc(p->arena, (size_t)n, sizeof *p->x->connections)))
        return no_memory(p);
    for (int i = 0; i < n; i++, r += XB_CON) {
        lpo_xclbin_connection c = {(int32_t)xb_u32(r), (int32_t)xb_u32(r + 4), (int32_t)xb_u32(r + 8)};
        if (c.arg < 0 || c.ip < 0 || c.ip >= p->x->n_ips || c.memory < 0 || c.memory >= p->x->n_memories)
            return lpo_fail(p->err, LPO_EFORMAT,
                            "%s: byte %zu: connection %d joins argument %" PRId32 " of IP %" PRId32
                            " (of %d) to memory %" PRId32 " (of %d)",
                            p->where, (size_t)(r - p->data), i, c.arg, c.ip, p->x->n_ips, c.memory,
                            p->x->n_memories);
        p->x->connections[i] = c;
    }
    p->x->n_connections = n;
    return LPO_OK;
}

static lpo_status take_clocks(parser *p) {
    const uint8_t *r;
    int n;
    lpo_status st = table_of(p, LPO_XCLBIN_CLOCKS, XB_CLOCK_HEAD, XB_CLOCK, &r, &n);
    if (st || !n) return st;
    if (!(p->x->clocks = lpo_arena_alloc(p->arena, (size_t)n, sizeof *p->x->clocks))) return no_memory(p);
    for (int i = 0; i < n; i++, r += XB_CLOCK) {
        p->x->clocks[i].mhz = xb_u16(r);
        p->x->clocks[i].type = r[2];
        if ((st = take_text(p, p->x->clocks[i].name, r + 8, 128, "a clock's name"))) return st;
    }
    p->x->n_clocks = n;
    return LPO_OK;
}

static lpo_status take_all(parser *p) {
    const uint8_t *r;
    int n;
    lpo_status st;
    if ((st = take_header(p)) || (st = take_sections(p)) || (st = take_memories(p)) || (st = take_ips(p)) ||
        (st = take_connections(p)) || (st = take_clocks(p)))
        return st;
    if ((st = table_of(p, DEBUG_IP_LAYOUT, XB_DEBUG_HEAD, XB_DEBUG, &r, &n)) ||
        (st = table_of(p, GROUP_TOPOLOGY, XB_MEM_HEAD, XB_MEM, &r, &n)) ||
        (st = table_of(p, GROUP_TOPOLOGY + 1, XB_CON_HEAD, XB_CON, &r, &n)))
        return st;
    const lpo_xclbin_section *xml = lpo_xclbin_find(p->x, LPO_XCLBIN_METADATA);
    return xml ? xb_metadata_read(p->x, p->arena, xml->data, xml->size_bytes, p->where, p->err) : LPO_OK;
}

lpo_status lpo_xclbin_parse(lpo_xclbin **out, const void *data, size_t size_bytes, const char *where,
                            lpo_error *err) {
    *out = NULL;
    lpo_arena *arena = lpo_arena_create(64 << 10);
    parser p = {NULL, arena, NULL, size_bytes, where, err};
    uint8_t *copy = arena ? lpo_arena_alloc(arena, size_bytes + 1, 1) : NULL;
    lpo_xclbin *x = arena ? lpo_arena_alloc(arena, 1, sizeof *x) : NULL;
    lpo_status st;
    if (!copy || !x) {
        st = no_memory(&p);
    } else {
        if (size_bytes) memcpy(copy, data, size_bytes);
        p.data = copy;
        p.x = x;
        x->own = (struct lpo_xclbin_own *)arena;
        st = take_all(&p);
    }
    if (st)
        lpo_arena_destroy(arena);
    else
        *out = x;
    return st;
}

void lpo_xclbin_close(lpo_xclbin *x) {
    if (x) lpo_arena_destroy((lpo_arena *)x->own);
}

const lpo_xclbin_section *lpo_xclbin_find(const lpo_xclbin *x, uint32_t kind) {
    for (int i = 0; i < x->n_sections; i++)
        if (x->sections[i].kind == kind) return &x->sections[i];
    return NULL;
}

static const lpo_xclbin_kernel *kernel_of(const lpo_xclbin *x, const lpo_xclbin_ip *ip) {
    size_t n = strcspn(ip->name, ":");
    for (int i = 0; i < x->n_kernels; i++)
        if (strlen(x->kernels[i].name) == n && !memcmp(x->kernels[i].name, ip->name, n))
            return &x->kernels[i];
    return NULL;
}

lpo_status lpo_xclbin_check_card(const lpo_xclbin *x, const char *where, lpo_error *err) {
    static const uint32_t needed[] = {LPO_XCLBIN_BITSTREAM, LPO_XCLBIN_METADATA, LPO_XCLBIN_MEMORY,
                                      LPO_XCLBIN_IP_LAYOUT};
    if (x->mode != LPO_XCLBIN_SW_EMU)
        return lpo_fail(
            err, LPO_EUNSUPPORTED,
            "%s: mode %s: the software card runs sw_emu containers (leanpo xclbin build makes one)", where,
            lpo_xclbin_mode_name(x->mode));
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (!lpo_xclbin_find(x, needed[i]))
            return lpo_fail(err, LPO_EFORMAT, "%s: section %s is missing", where,
                            lpo_xclbin_kind_name(needed[i]));
    const lpo_xclbin_section *so = lpo_xclbin_find(x, LPO_XCLBIN_BITSTREAM);
    if (so->size_bytes < 64 || memcmp(so->data, "\177ELF", 4))
        return lpo_fail(err, LPO_EFORMAT, "%s: byte %" PRIu64 ": BITSTREAM is not a shared object", where,
                        so->offset);
    int n_cus = 0;
    for (int i = 0; i < x->n_ips; i++) {
        if (x->ips[i].type != XB_IP_KERNEL) continue;
        n_cus++;
        const lpo_xclbin_kernel *k = kernel_of(x, &x->ips[i]);
        if (!k)
            return lpo_fail(err, LPO_EFORMAT, "%s: compute unit \"%s\" has no kernel in the metadata", where,
                            x->ips[i].name);
        for (int a = 0; a < k->n_args; a++)
            if (k->args[a].qualifier <= 1 && k->args[a].offset + k->args[a].size > XB_REGISTERS)
                return lpo_fail(err, LPO_EFORMAT,
                                "%s: kernel %s: argument %s at 0x%" PRIx64 " is outside the register map",
                                where, k->name, k->args[a].name, k->args[a].offset);
    }
    if (n_cus < 1 || n_cus > 128)
        return lpo_fail(err, LPO_EFORMAT, "%s: %d compute units, 1..128 expected", where, n_cus);
    return LPO_OK;
}
