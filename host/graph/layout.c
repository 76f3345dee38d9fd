/* SPDX-License-Identifier: Apache-2.0 */
/* layout.c -- offsets of the storages, one arena per device.
 * Storages arrive in the order of their first node. Walking the nodes, what ended before this one becomes a
 * hole, and what starts here takes the smallest hole that fits, else the top of the arena. Best fit leaves
 * few and large holes because a transformer's temporaries come in few sizes. Offsets are multiples of 256
 * bytes, the coarsest alignment a device asks. */
#include "graph/record.h"

#include <string.h>

static size_t rounded(size_t size_bytes) {
    return (size_bytes + 255) & ~(size_t)255;
}

/* Index of the first hole at or behind offset: holes are sorted and never touch. */
static int32_t hole_at(const lpo_tape *t, int32_t d, size_t offset_bytes) {
    int32_t lo = 0, hi = t->n_holes[d];
    while (lo < hi) {
        int32_t mid = (lo + hi) / 2;
        if (t->holes[d][mid].offset_bytes < offset_bytes)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void hole_remove(lpo_tape *t, int32_t d, int32_t i) {
    lpo_hole *h = t->holes[d];
    memmove(&h[i], &h[i + 1], sizeof *h * (size_t)(t->n_holes[d] - i - 1));
    t->n_holes[d]--;
}

static bool give_back(lpo_tape *t, const lpo_storage *s) {
    int32_t d = s->device;
    size_t offset = s->offset_bytes, size = rounded(s->size_bytes);
    if (!lpo_tape_grow(t, &t->holes[d], &t->cap_holes[d], t->n_holes[d] + 1, sizeof(lpo_hole))) return false;
    lpo_hole *h = t->holes[d];
    int32_t i = hole_at(t, d, offset);
    bool joins_next = i < t->n_holes[d] && h[i].offset_bytes == offset + size;
    bool joins_prev = i > 0 && h[i - 1].offset_bytes + h[i - 1].size_bytes == offset;
    if (joins_prev) {
        h[i - 1].size_bytes += size;
        if (joins_next) {
            h[i - 1].size_bytes += h[i].size_bytes;
            hole_remove(t, d, i);
        }
    } else if (joins_next) {
        h[i].offset_bytes = offset;
        h[i].size_bytes += size;
    } else {
        memmove(&h[i + 1], &h[i], sizeof *h * (size_t)(t->n_holes[d] - i));
        h[i] = (lpo_hole){offset, size};
        t->n_holes[d]++;
    }
    return true;
}

static void take(lpo_tape *t, lpo_storage *s) {
    int32_t d = s->device, best = -1, n = t->n_holes[d];
    size_t size = rounded(s->size_bytes);
    lpo_hole *h = t->holes[d];
    for (int32_t i = 0; i < n; i++)
        if (h[i].size_bytes >= size && (best < 0 || h[i].size_bytes < h[best].size_bytes)) best = i;
    if (best >= 0) {
        s->offset_bytes = h[best].offset_bytes;
        h[best].offset_bytes += size;
        h[best].size_bytes -= size;
        if (!h[best].size_bytes) hole_remove(t, d, best);
        return;
    }
    /* A hole below the top that is too small is extended rather than left behind. */
    bool at_top = n && h[n - 1].offset_bytes + h[n - 1].size_bytes == t->top_bytes[d];
    s->offset_bytes = at_top ? h[n - 1].offset_bytes : t->top_bytes[d];
    if (at_top) t->n_holes[d]--;
    t->top_bytes[d] = s->offset_bytes + size;
}

bool lpo_layout(lpo_tape *t) {
    if (!lpo_tape_grow(t, &t->ends_at, &t->cap_ends_at, t->n_nodes + 1, sizeof *t->ends_at)) return false;
    for (int32_t i = 0; i <= t->n_nodes; i++) t->ends_at[i] = -1;
    for (int d = 0; d < LPO_MAX_DEVICES; d++) {
        t->n_holes[d] = 0;
        t->top_bytes[d] = 0;
    }
    for (int32_t s = 0; s < t->n_storages; s++) {
        lpo_storage *g = &t->storages[s];
        if (g->merged >= 0 || g->end >= t->n_nodes) continue;
        g->next = t->ends_at[g->end];
        t->ends_at[g->end] = s;
    }
    int32_t s = 0;
    for (int32_t i = 0; i <= t->n_nodes; i++) {
        for (int32_t e = i ? t->ends_at[i - 1] : -1; e >= 0; e = t->storages[e].next)
            if (!give_back(t, &t->storages[e])) return false;
        for (; s < t->n_storages && t->storages[s].first == i; s++)
            if (t->storages[s].merged < 0) take(t, &t->storages[s]);
    }
    return true;
}
