/* SPDX-License-Identifier: Apache-2.0 */
/* utf8.h -- checking, stepping and mending UTF-8. */
#ifndef LPO_TEXT_UTF8_H
#define LPO_TEXT_UTF8_H
#include <stddef.h>
#include <stdint.h>

/* Length of the valid prefix; size_bytes when all of it is valid (no surrogates, no overlong forms, at most
 * U+10FFFF). */
size_t lpo_utf8_valid(const char *s, size_t size_bytes);
/* Bytes of the character that starts with this byte of valid UTF-8. */
size_t lpo_utf8_len(unsigned char lead);
/* The character at s (valid UTF-8), *len its bytes. */
uint32_t lpo_utf8_get(const char *s, size_t *len);
/* Writes at most 4 bytes, returns how many. */
size_t lpo_utf8_put(char *s, uint32_t c);
/* dst (3 * size_bytes) = src with each maximal ill-formed part replaced by U+FFFD; returns its length. */
size_t lpo_utf8_mend(char *dst, const char *src, size_t size_bytes);
/* At most 40 bytes of s for an error message: cut between characters, controls shown as '?'. Returns dst. */
const char *lpo_utf8_quote(char dst[48], const char *s, size_t size_bytes);
#endif
