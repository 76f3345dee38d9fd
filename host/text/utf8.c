/* SPDX-License-Identifier: Apache-2.0 */
/* utf8.c -- see utf8.h. */
#include "text/utf8.h"

#include <string.h>

size_t lpo_utf8_len(unsigned char lead) {
    return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

/* Bytes of the well-formed character at s, or 0; *bad is then the length of the maximal ill-formed part: the
 * bytes that could still have begun a character (Unicode, "substitution of maximal subparts"). */
static size_t step(const unsigned char *s, size_t n, size_t *bad) {
    unsigned char c = s[0], low = 0x80, high = 0xbf;
    *bad = 1;
    if (c < 0x80) return 1;
    if (c < 0xc2 || c > 0xf4) return 0;
    if (c == 0xe0) low = 0xa0;
    if (c == 0xed) high = 0x9f;
    if (c == 0xf0) low = 0x90;
    if (c == 0xf4) high = 0x8f;
    size_t len = lpo_utf8_len(c);
    for (size_t i = 1; i < len; i++) {
        if (i >= n || s[i] < low || s[i] > high) return 0;
        low = 0x80;
        high = 0xbf;
        *bad = i + 1;
    }
    return len;
}

size_t lpo_utf8_valid(const char *s, size_t size_bytes) {
    const unsigned char *u = (const unsigned char *)s;
    size_t i = 0, bad;
    while (i < size_bytes) {
        size_t len = step(u + i, size_bytes - i, &bad);
        if (!len) break;
        i += len;
    }
    return i;
}

uint32_t lpo_utf8_get(const char *s, size_t *len) {
    const unsigned char *u = (const unsigned char *)s;
    *len = lpo_utf8_len(u[0]);
    if (*len == 1) return u[0];
    uint32_t c = u[0] & (0x7fu >> *len);
    for (size_t i = 1; i < *len; i++) c = c << 6 | (u[i] & 0x3fu);
    return c;
}

size_t lpo_utf8_put(char *s, uint32_t c) {
    if (c < 0x80) {
        s[0] = (char)c;
        return 1;
    }
    size_t len = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = len - 1; i > 0; i--, c >>= 6) s[i] = (char)(0x80 | (c & 0x3f));
    s[0] = (char)((0xf00u >> len & 0xf0u) | c);
    return len;
}

size_t lpo_utf8_mend(char *dst, const char *src, size_t size_bytes) {
    const unsigned char *u = (const unsigned char *)src;
    size_t n = 0, bad;
    for (size_t i = 0; i < size_bytes;) {
        size_t len = step(u + i, size_bytes - i, &bad);
        if (len) {
            memcpy(dst + n, src + i, len);
            n += len;
            i += len;
        } else {
            n += lpo_utf8_put(dst + n, 0xfffd);
            i += bad;
        }
    }
    return n;
}

const char *lpo_utf8_quote(char dst[48], const char *s, size_t size_bytes) {
    size_t n = 0, bad;
    while (n < size_bytes) {
        size_t len = step((const unsigned char *)s + n, size_bytes - n, &bad);
        if (!len || n + len > 40) break;
        memcpy(dst + n, s + n, len);
        if (len == 1 && ((unsigned char)s[n] < 0x20 || s[n] == 0x7f)) dst[n] = '?';
        n += len;
    }
    if (n < size_bytes) {
        memcpy(dst + n, "...", 3);
        n += 3;
    }
    dst[n] = '\0';
    return dst;
}
