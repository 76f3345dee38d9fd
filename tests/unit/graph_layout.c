/* SPDX-License-Identifier: Apache-2.0 */
/* graph_layout.c -- the memory plan on its own: whatever the intervals, no two storages that stand at one
 * time overlap; what fits in freed memory costs none. */
#include "base/rng.h"
#include "graph/record.h"

#include <criterion/criterion.h>
#include <stdlib.h>

/* 200 random sets of intervals on two devices. */
Test(graph_layout, nothing_overlaps) {
    lpo_rng r = lpo_rng_init(1, 1);
    for (int round = 0; round < 200; round++) {
        lpo_tape t = {.n_nodes = 40};
        lpo_storage s[100];
        size_t sum = 0;
        int32_t first = 0;
        for (int i = 0; i < 100; i++) {
            first += lpo_rng_below(&r, 3) == 0;
            if (first > 39) first = 39;
            int32_t last = first + (int32_t)lpo_rng_below(&r, 9);
            if (last > 40) last = 40;
            s[i] = (lpo_storage){.device = (int32_t)lpo_rng_below(&r, 2),
                                 .first = first,
                                 .last = last,
                                 .end = last,
                                 .merged = -1,
                                 .next = -1,
                                 .size_bytes = 1 + lpo_rng_below(&r, 5000)};
            sum += (s[i].size_bytes + 255) & ~(size_t)255;
        }
        t.storages = s;
        t.n_storages = 100;
        cr_assert(lpo_layout(&t));
        cr_expect_lt(t.top_bytes[0] + t.top_bytes[1], sum);
        for (int i = 0; i < 100; i++) {
            cr_assert_eq(s[i].offset_bytes % 256, 0);
            cr_assert_leq(s[i].offset_bytes + s[i].size_bytes, t.top_bytes[s[i].device]);
            for (int j = 0; j < i; j++) {
                if (s[i].device != s[j].device || s[i].first > s[j].end || s[j].first > s[i].end) continue;
                cr_assert(s[i].offset_bytes >= s[j].offset_bytes + s[j].size_bytes ||
                              s[j].offset_bytes >= s[i].offset_bytes + s[i].size_bytes,
                          "round %d: %d and %d share bytes", round, i, j);
            }
        }
        free(t.ends_at);
        free(t.holes[0]);
        free(t.holes[1]);
    }
}

/* A chain of equal tensors, each read by the next node only, needs two of them. */
Test(graph_layout, a_chain_needs_two) {
    lpo_tape t = {.n_nodes = 10};
    lpo_storage s[10];
    for (int32_t i = 0; i < 10; i++)
        s[i] = (lpo_storage){
            .first = i, .last = i + 1, .end = i + 1, .merged = -1, .next = -1, .size_bytes = 1024};
    t.storages = s;
    t.n_storages = 10;
    cr_assert(lpo_layout(&t));
    cr_expect_eq(t.top_bytes[0], 2048);
    free(t.ends_at);
    free(t.holes[0]);
}

/* Freed neighbours, in any order, make one hole that a tensor of their sum fits into. */
Test(graph_layout, neighbours_join) {
    static const int32_t order[][3] = {{1, 2, 3}, {3, 2, 1}, {1, 3, 2}, {2, 1, 3}};
    for (int k = 0; k < 4; k++) {
        lpo_tape t = {.n_nodes = 6};
        lpo_storage s[5];
        for (int i = 0; i < 5; i++)
            s[i] = (lpo_storage){.first = i < 4 ? 0 : 5,
                                 .last = i < 3 ? order[k][i] : 6,
                                 .merged = -1,
                                 .next = -1,
                                 .size_bytes = 1024};
        s[4].size_bytes = 3 * 1024;
        for (int i = 0; i < 5; i++) s[i].end = s[i].last;
        t.storages = s;
        t.n_storages = 5;
        cr_assert(lpo_layout(&t));
        cr_expect_eq(t.top_bytes[0], 4 * 1024, "order %d", k);
        cr_expect_eq(s[4].offset_bytes, 0);
        free(t.ends_at);
        free(t.holes[0]);
    }
}

/* A hole at the top that is too small grows: 1 KiB freed, then 2 KiB needed, is 2 KiB in all. */
Test(graph_layout, top_hole_grows) {
    lpo_tape t = {.n_nodes = 2};
    lpo_storage s[] = {{.first = 0, .last = 0, .end = 0, .merged = -1, .next = -1, .size_bytes = 1024},
                       {.first = 1, .last = 1, .end = 1, .merged = -1, .next = -1, .size_bytes = 2048}};
    t.storages = s;
    t.n_storages = 2;
    cr_assert(lpo_layout(&t));
    cr_expect_eq(t.top_bytes[0], 2048);
    free(t.ends_at);
    free(t.holes[0]);
}
