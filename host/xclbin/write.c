/* SPDX-License-Identifier: Apache-2.0 */
/* write.c -- containers to and from files. */
#include "base/file.h"
#include "leanpo/xclbin.h"
#include "xclbin/format.h"

#include <stdio.h>
#include <xxhash.h>

lpo_status lpo_xclbin_open(lpo_xclbin **out, const char *path, lpo_error *err) {
    lpo_mapping map;
    *out = NULL;
    lpo_status st = lpo_file_map(&map, path, err);
    if (st) return st;
    st = lpo_xclbin_parse(out, map.data, map.size_bytes, path, err);
    lpo_file_unmap(&map);
    return st;
}

static void put(uint8_t *at, uint64_t value, size_t n) {
    memcpy(at, &value, n); /* little-endian hosts only, as XRT itself */
}

static size_t aligned(size_t n) {
    return (n + 7) & ~(size_t)7;
}

lpo_status lpo_xclbin_write(const char *path, unsigned mode, const char *platform,
                            const lpo_xclbin_part *parts, int n_parts, lpo_error *err) {
    static const uint8_t zeros[8];
    uint8_t head[XB_TABLE + XB_SECTIONS * XB_ENTRY] = {0};
    if (n_parts < 1 || n_parts > XB_SECTIONS)
        return lpo_fail(err, LPO_EINVAL, "%s: %d sections, 1..%d are possible", path, n_parts, XB_SECTIONS);
    if (strlen(platform) > 63)
        return lpo_fail(err, LPO_EINVAL, "%s: a platform name has at most 63 characters", path);
    memcpy(head, "xclbin2", 8);
    memset(head + XB_SIGNATURE, 0xff, XB_UNIQUE - XB_SIGNATURE); /* no signature, no keys */
    head[XB_PATCH + 2] = 2;
    head[XB_PATCH + 3] = 13;
    put(head + XB_MODE, mode, 2);
    memcpy(head + XB_PLATFORM, platform, strlen(platform));
    put(head + XB_COUNT, (uint64_t)n_parts, 4);
    size_t head_size = XB_TABLE + (size_t)n_parts * XB_ENTRY, at = aligned(head_size);
    uint64_t hash[2] = {mode, mode};
    for (int i = 0; i < n_parts; i++) {
        uint8_t *e = head + XB_TABLE + (size_t)i * XB_ENTRY;
        const char *name = lpo_xclbin_kind_name(parts[i].kind);
        if (!name)
            return lpo_fail(err, LPO_EINVAL, "%s: no section kind has number %u", path,
                            (unsigned)parts[i].kind);
        put(e, parts[i].kind, 4);
        snprintf((char *)e + 4, 16, "%s", name);
        put(e + 24, at, 8);
        put(e + 32, parts[i].size_bytes, 8);
        at = aligned(at + parts[i].size_bytes);
        for (int h = 0; h < 2; h++)
            hash[h] = XXH64(parts[i].data, parts[i].size_bytes, hash[h] * 2 + (uint64_t)h + 1);
    }
    put(head + XB_LENGTH, at, 8);
    put(head + XB_UNIQUE, hash[0], 8);
    memcpy(head + XB_UUID, hash, 16);
    head[XB_UUID + 6] =
        (uint8_t)((head[XB_UUID + 6] & 0x0f) | 0x80); /* RFC 9562 version 8: so never all zeros */
    head[XB_UUID + 8] = (uint8_t)((head[XB_UUID + 8] & 0x3f) | 0x80);

    lpo_writer *w = NULL;
    lpo_status st = lpo_writer_open(&w, path, err);
    if (st) return st;
    st = lpo_writer_put(w, head, head_size, err);
    if (!st) st = lpo_writer_put(w, zeros, aligned(head_size) - head_size, err);
    for (int i = 0; i < n_parts && !st; i++) {
        st = lpo_writer_put(w, parts[i].data, parts[i].size_bytes, err);
        if (!st) st = lpo_writer_put(w, zeros, aligned(parts[i].size_bytes) - parts[i].size_bytes, err);
    }
    if (!st) return lpo_writer_commit(w, err);
    lpo_writer_abort(w);
    return st;
}
