/* SPDX-License-Identifier: Apache-2.0 */
/* TensorBoard event files, byte by byte. */
#include "train/events.h"

#include <criterion/criterion.h>
#include <string.h>

/* The check values of CRC-32C: "123456789" from the catalogue of CRC algorithms, 32 zero bytes from RFC 3720
 * B.4. */
Test(train_events, crc32c_check_values) {
    static const unsigned char zero[32];
    cr_assert_eq(lpo_crc32c("123456789", 9), 0xe3069283u);
    cr_assert_eq(lpo_crc32c(zero, 32), 0x8a9136aau);
    cr_assert_eq(lpo_crc32c("", 0), 0u);
}

/* One scalar event against the wire format written out by hand: fixed64 wall time, varint step, Summary in
 * field 5. */
Test(train_events, event_bytes) {
    static const unsigned char want[] = {
        0x09, 0,    0,    0,   0,    0,   0, 0xf8, 0x3f, /* 1: 1.5 */
        0x10, 0xac, 0x02,                                /* 2: 300 */
        0x2a, 0x0d,                                      /* 5: 13 bytes */
        0x0a, 0x0b,                                      /*   1: 11 bytes */
        0x0a, 0x04, 'l',  'o', 's',  's',                /*     1: tag */
        0x15, 0,    0,    0,   0x3f,                     /*     2: 0.5f */
    };
    unsigned char got[128];
    lpo_scalars s = {.step = 300};
    lpo_scalars_add(&s, "loss", 0.5);
    size_t n = lpo_event_encode(NULL, 1.5, &s);
    cr_assert_eq(n, sizeof want);
    cr_assert_eq(lpo_event_encode(got, 1.5, &s), n);
    cr_assert_arr_eq(got, want, n);
}

/* A record's frame: length, both checksums, payload in between; any reader can walk a file of these. */
Test(train_events, record_frame) {
    unsigned char f[3 + 16];
    uint32_t crc;
    lpo_tfrecord_frame(f, "abc", 3);
    static const unsigned char head[8] = {3};
    cr_assert_arr_eq(f, head, 8);
    cr_assert_arr_eq(f + 12, "abc", 3);
    crc = lpo_crc32c("abc", 3);
    crc = ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
    for (int i = 0; i < 4; i++) cr_assert_eq(f[15 + i], (unsigned char)(crc >> (8 * i)));
}
