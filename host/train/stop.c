/* SPDX-License-Identifier: Apache-2.0 */
/* stop.c -- see stop.h. */
#include "train/stop.h"

#include <stdlib.h>
#include <string.h>

size_t lpo_stops_find(const lpo_stops *s, const char *text) {
    size_t first = strlen(text);
    for (int i = 0; i < s->n; i++) {
        const char *at = s->text[i][0] ? strstr(text, s->text[i]) : NULL;
        if (at && (size_t)(at - text) < first) first = (size_t)(at - text);
    }
    return first;
}

size_t lpo_stops_held(const lpo_stops *s, const char *text) {
    const size_t n = strlen(text);
    size_t held = 0;
    for (int i = 0; i < s->n; i++) {
        size_t k = strlen(s->text[i]);
        for (k = k > n ? n : k; k > held; k--)
            if (!memcmp(text + n - k, s->text[i], k)) held = k;
    }
    return held;
}

lpo_status lpo_stop_watch_init(lpo_stop_watch *w, lpo_tokenizer *t, lpo_stops stops, lpo_error *err) {
    size_t longest = 0;
    for (int i = 0; i < stops.n; i++)
        if (strlen(stops.text[i]) > longest) longest = strlen(stops.text[i]);
    *w = (lpo_stop_watch){.tokenizer = t, .stops = stops};
    if (!longest) return LPO_OK;
    if (longest > 1 << 16) return lpo_fail(err, LPO_ELIMIT, "a stop string of %zu bytes", longest);
    w->cap = (int)longest; /* a token that shows anything shows a byte */
    w->last = malloc((size_t)w->cap * sizeof *w->last);
    return w->last ? LPO_OK : lpo_fail(err, LPO_ENOMEM, "out of memory for stop strings");
}

void lpo_stop_watch_clear(lpo_stop_watch *w) {
    free(w->last);
    memset(w, 0, sizeof *w);
}

lpo_status lpo_stop_watch_hear(lpo_stop_watch *w, bool *over, int32_t id, lpo_error *err) {
    *over = false;
    if (!w->cap) return LPO_OK;
    char *text;
    size_t n;
    if (w->n == w->cap) memmove(w->last, w->last + 1, (size_t)--w->n * sizeof *w->last);
    w->last[w->n++] = id;
    lpo_status st = lpo_tokenizer_decode(&text, &n, w->tokenizer, w->last, (size_t)w->n, 1, err);
    if (st) return st;
    if (!n) w->n--; /* a special token: it shows nothing */
    *over = text[lpo_stops_find(&w->stops, text)] != 0;
    free(text);
    return LPO_OK;
}
