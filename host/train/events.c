/* SPDX-License-Identifier: Apache-2.0 */
/* events.c -- see events.h. */
#include "train/events.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct lpo_events {
    int fd;
    char path[768];
};
enum { MAX_TAG = 64, MAX_EVENT = 64 + LPO_MAX_SCALARS * (MAX_TAG + 16) };

uint32_t lpo_crc32c(const void *data, size_t n) {
    const unsigned char *p = data;
    uint32_t crc = 0xffffffffu;
    /* Bit by bit: a few hundred bytes a step. */
    while (n--) {
        crc ^= *p++;
        for (int k = 0; k < 8; k++) crc = (crc >> 1) ^ (0x82f63b78u & (0u - (crc & 1u)));
    }
    return ~crc;
}

uint32_t lpo_crc32c_masked(const void *data, size_t n) {
    uint32_t crc = lpo_crc32c(data, n);
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

static void put_le(unsigned char *out, uint64_t x, int n_bytes) {
    for (int i = 0; i < n_bytes; i++) out[i] = (unsigned char)(x >> (8 * i));
}

void lpo_tfrecord_frame(unsigned char *out, const void *payload, size_t n) {
    put_le(out, n, 8);
    put_le(out + 8, lpo_crc32c_masked(out, 8), 4);
    memcpy(out + 12, payload, n);
    put_le(out + 12 + n, lpo_crc32c_masked(payload, n), 4);
}

/* The protobuf wire: a cursor that also counts (p NULL). */
typedef struct wire {
    unsigned char *p;
    size_t n;
} wire;

static void put_bytes(wire *w, const void *data, size_t n) {
    if (w->p) memcpy(w->p + w->n, data, n);
    w->n += n;
}
static void put_varint(wire *w, uint64_t x) {
    do {
        unsigned char b = (unsigned char)((x & 127u) | (x > 127u ? 128u : 0u));
        put_bytes(w, &b, 1);
        x >>= 7;
    } while (x);
}
static void put_fixed(wire *w, int field, const void *value, int n_bytes) {
    unsigned char le[8];
    uint64_t x = 0;
    if (n_bytes == 8)
        memcpy(&x, value, 8);
    else {
        uint32_t y;
        memcpy(&y, value, 4);
        x = y;
    }
    put_le(le, x, n_bytes);
    put_varint(w, (uint64_t)field << 3 | (n_bytes == 8 ? 1u : 5u));
    put_bytes(w, le, (size_t)n_bytes);
}
static void put_text(wire *w, int field, const void *text, size_t n) {
    put_varint(w, (uint64_t)field << 3 | 2u);
    put_varint(w, n);
    put_bytes(w, text, n);
}

static void put_values(wire *w, const lpo_scalars *s) {
    for (int i = 0; i < s->n; i++) {
        unsigned char buf[MAX_TAG + 16];
        wire value = {buf, 0};
        size_t len = strlen(s->item[i].name);
        const float x = (float)s->item[i].value;
        put_text(&value, 1, s->item[i].name, len < MAX_TAG ? len : MAX_TAG);
        put_fixed(&value, 2, &x, 4);
        put_text(w, 1, buf, value.n);
    }
}

static void put_head(wire *w, double wall_s, int64_t step) {
    put_fixed(w, 1, &wall_s, 8);
    if (step) {
        put_varint(w, 2 << 3);
        put_varint(w, (uint64_t)step);
    }
}

size_t lpo_event_encode(unsigned char *out, double wall_s, const lpo_scalars *s) {
    wire w = {out, 0}, summary = {NULL, 0};
    put_values(&summary, s);
    put_head(&w, wall_s, s->step);
    put_varint(&w, 5 << 3 | 2);
    put_varint(&w, summary.n);
    put_values(&w, s);
    return w.n;
}

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static lpo_status put_record(lpo_events *e, const unsigned char *payload, size_t n, lpo_error *err) {
    unsigned char frame[MAX_EVENT + 16];
    lpo_tfrecord_frame(frame, payload, n);
    for (size_t done = 0; done < n + 16;) {
        ssize_t k = write(e->fd, frame + done, n + 16 - done);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return lpo_fail(err, LPO_EIO, "%s: cannot write it: %s", e->path, strerror(errno));
        done += (size_t)k;
    }
    return LPO_OK;
}

lpo_status lpo_events_open(lpo_events **out, const char *dir, int64_t first_step, lpo_error *err) {
    char host[64] = "host";
    unsigned char payload[64];
    *out = NULL;
    lpo_events *e = calloc(1, sizeof *e);
    if (!e) return lpo_fail(err, LPO_ENOMEM, "out of memory");
    gethostname(host, sizeof host - 1);
    snprintf(e->path, sizeof e->path, "%s/events.out.tfevents.%lld.%s.%d", dir, (long long)now_s(), host,
             (int)getpid());
    e->fd = open(e->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (e->fd < 0) {
        lpo_status s = lpo_fail(err, LPO_EIO, "%s: cannot create it: %s", e->path, strerror(errno));
        free(e);
        return s;
    }
    wire w = {payload, 0};
    put_head(&w, now_s(), 0);
    put_text(&w, 3, "brain.Event:2", 13);
    lpo_status s = put_record(e, payload, w.n, err);
    if (!s && first_step > 0) {
        static const unsigned char start[2] = {1 << 3, 1};
        w.n = 0;
        put_head(&w, now_s(), first_step);
        put_text(&w, 7, start, sizeof start);
        s = put_record(e, payload, w.n, err);
    }
    if (s) {
        lpo_events_close(e);
        return s;
    }
    *out = e;
    return LPO_OK;
}

lpo_status lpo_events_put(lpo_events *e, const lpo_scalars *s, lpo_error *err) {
    unsigned char payload[MAX_EVENT];
    return put_record(e, payload, lpo_event_encode(payload, now_s(), s), err);
}

void lpo_events_close(lpo_events *e) {
    if (!e) return;
    close(e->fd);
    free(e);
}
