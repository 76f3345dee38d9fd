/* SPDX-License-Identifier: Apache-2.0 */
/* trace.c -- LEANPO_CARD_TRACE=FILE: one JSON object a line for every run and every transfer (docs/card.md).
 * Lines are appended whole, so several cards and processes may share a file. Times are CLOCK_MONOTONIC
 * seconds measured around the emulation; cycles are the kernel's model of itself, null when it has none. */
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int trace_fd = -1; /* of all cards, opened with the first */

double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void trace_open(void) {
    const char *path = getenv("LEANPO_CARD_TRACE");
    if (trace_fd >= 0 || !path || !*path) return;
    trace_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (trace_fd < 0) card_say("LEANPO_CARD_TRACE=%s: %s", path, strerror(errno));
}

void trace_close(void) {
    if (trace_fd >= 0) close(trace_fd);
    trace_fd = -1;
}

bool trace_on(void) {
    return trace_fd >= 0;
}

static void put(const char *line, size_t n) {
    if (write(trace_fd, line, n) == (ssize_t)n) return;
    card_say("LEANPO_CARD_TRACE: %s; the trace ends here", strerror(errno));
    trace_close();
}

void trace_transfer(const card *c, const char *direction, unsigned bank, size_t bytes, double start_s) {
    char line[256];
    int n = snprintf(
        line, sizeof line,
        "{\"card\":%u,\"dma\":\"%s\",\"bank\":\"%s\",\"bytes\":%zu,\"start_s\":%.9f,\"seconds\":%.9f}\n",
        c->index, direction, bank < (unsigned)c->n_banks ? c->bank[bank].tag : "", bytes, start_s,
        now_s() - start_s);
    put(line, (size_t)n);
}

/* The buffers behind a run's memory arguments, by bank: {"HBM[0]":4096,"HBM[1]":8192}. A buffer given twice
 * counts once. Called when the run is queued: later they may be gone. */
char *trace_banks(const card *c, const unit *u, const uint8_t *regs) {
    const store *seen[MAX_ARGS];
    uint64_t bytes[MAX_BANKS] = {0}, address;
    char *text = NULL;
    size_t size;
    int n_seen = 0;
    for (int a = 0; a < u->n_memory; a++) {
        memcpy(&address, regs + u->memory[a].offset, sizeof address);
        const store *s = store_at(c, address);
        for (int i = 0; i < n_seen; i++)
            if (seen[i] == s) s = NULL;
        if (!s) continue;
        seen[n_seen++] = s;
        if (s->bank < MAX_BANKS) bytes[s->bank] += s->size;
    }
    FILE *f = open_memstream(&text, &size);
    if (!f) return NULL;
    fputc('{', f);
    for (int b = 0, first = 1; b < c->n_banks; b++)
        if (bytes[b]) fprintf(f, "%s\"%s\":%" PRIu64, first ? "" : ",", c->bank[b].tag, bytes[b]), first = 0;
    fputc('}', f);
    fclose(f);
    return text;
}

static void put_model(FILE *f, const char *key, uint64_t value) {
    if (value)
        fprintf(f, "\"%s\":%" PRIu64 ",", key, value);
    else
        fprintf(f, "\"%s\":null,", key);
}

void trace_run(const card *c, const job *j, const wire_reply *r) {
    const char *name = c->unit[j->unit].name, *colon = strchrnul(name, ':');
    char *line = NULL;
    size_t size;
    FILE *f = open_memstream(&line, &size);
    if (!f) return;
    fprintf(f, "{\"card\":%u,\"kernel\":\"%.*s\",\"cu\":\"%s\",\"start_s\":%.9f,\"seconds\":%.9f,", c->index,
            (int)(colon - name), name, *colon ? colon + 1 : name, r->start_s, r->seconds);
    put_model(f, "cycles", r->cycles);
    fprintf(f, "\"clock_hz\":%" PRIu64 ",", c->clock_hz);
    put_model(f, "bytes", r->bytes);
    fprintf(f, "\"banks\":%s}\n", j->banks ? j->banks : "{}");
    if (!fclose(f)) put(line, size);
    free(line);
}
