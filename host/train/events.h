/* SPDX-License-Identifier: Apache-2.0 */
/* events.h -- scalars for TensorBoard: a TFRecord file of Event messages, written by hand (two messages do
 * not earn a protobuf library). Record: u64 length | masked CRC32C of those 8 bytes | payload | masked CRC32C
 * of the payload; little-endian. Event: 1 wall_time double, 2 step varint, 3 file_version string, 5 Summary {
 * 1 Value { 1 tag, 2 simple_value float } }, 7 SessionLog { 1 status: START = 1 }. A START at step N tells
 * TensorBoard to forget the points of a crashed run from N on. */
#ifndef LPO_TRAIN_EVENTS_H
#define LPO_TRAIN_EVENTS_H
#include "train/metrics.h"

#include <stddef.h>

typedef struct lpo_events lpo_events;
/* A new events.out.tfevents.SECONDS.HOST.PID in dir. first_step > 0: begins with a START at that step. */
lpo_status lpo_events_open(lpo_events **out, const char *dir, int64_t first_step, lpo_error *err);
lpo_status lpo_events_put(lpo_events *e, const lpo_scalars *s,
                          lpo_error *err); /* one event; flushed to the kernel */
void lpo_events_close(lpo_events *e);      /* NULL accepted */

/* CRC-32C (Castagnoli), as TFRecord stores it: rotated right by 15 and offset, so that a CRC of data holding
 * CRCs is not weak. */
uint32_t lpo_crc32c(const void *data, size_t n);
uint32_t lpo_crc32c_masked(const void *data, size_t n);
/* One framed record of a payload of n bytes into out (n + 16 bytes). */
void lpo_tfrecord_frame(unsigned char *out, const void *payload, size_t n);
/* The Event message of s; wall time in seconds since 1970. Returns its size; out NULL: counts only. */
size_t lpo_event_encode(unsigned char *out, double wall_s, const lpo_scalars *s);
#endif
