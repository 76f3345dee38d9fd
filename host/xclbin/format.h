/* SPDX-License-Identifier: Apache-2.0 */
/* format.h -- the bytes of an xclbin, little-endian.
 * 304 bytes of magic, signature and keys | 152-byte header | section table, 40 bytes each | sections,
 * 8-aligned. Records are read with memcpy at these offsets: a section of a damaged file may start anywhere.
 */
#ifndef LPO_XCLBIN_FORMAT_H
#define LPO_XCLBIN_FORMAT_H
#include <stdint.h>
#include <string.h>

enum {
    XB_SIGNATURE = 8,  /* i32, -1: none */
    XB_RESERVED = 12,  /* 28 + 256 bytes of 0xff when unsigned */
    XB_UNIQUE = 296,   /* u64 */
    XB_LENGTH = 304,   /* u64, the whole container */
    XB_TIME = 312,     /* u64 */
    XB_PATCH = 328,    /* u16, then u8 major, u8 minor */
    XB_MODE = 332,     /* u16 */
    XB_PLATFORM = 352, /* char[64] */
    XB_UUID = 416,     /* u8[16] */
    XB_COUNT = 448,    /* u32 sections */
    XB_TABLE = 456,
    XB_ENTRY = 40,   /* u32 kind, char name[16], 4 pad, u64 offset, u64 size */
    XB_LEAST = 496,  /* the header structure always holds one table entry */
    XB_SECTIONS = 64 /* more is not a container: real ones have about twenty */
};

/* Sections that are counted tables: where the first record starts and how long one is. */
enum {
    XB_MEM_HEAD = 8,
    XB_MEM = 40, /* u8 type, u8 used, 6 pad, u64 size in KiB, u64 base, char tag[16] */
    XB_CON_HEAD = 4,
    XB_CON = 12, /* i32 argument, i32 ip, i32 memory */
    XB_IP_HEAD = 8,
    XB_IP = 80, /* u32 type, u32 properties, u64 base, char name[64] */
    XB_DEBUG_HEAD = 8,
    XB_DEBUG = 144,
    XB_CLOCK_HEAD = 2,
    XB_CLOCK = 136 /* u16 MHz, u8 type, 5 pad, char name[128] */
};

enum { XB_IP_KERNEL = 1, XB_MEM_DDR4 = 1, XB_REGISTERS = 4096 /* bytes of a compute unit's register map */ };

static inline uint16_t xb_u16(const uint8_t *p) {
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline uint32_t xb_u32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline uint64_t xb_u64(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
#endif
