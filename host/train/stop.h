/* SPDX-License-Identifier: Apache-2.0 */
/* stop.h -- strings that end an answer and are cut off it. They may begin and end within tokens, so it is the
 * text that is watched, token by token. */
#ifndef LPO_TRAIN_STOP_H
#define LPO_TRAIN_STOP_H
#include "leanpo/text.h"

#include <stdbool.h>

typedef struct lpo_stops {
    const char *const *text; /* borrowed */
    int n;
} lpo_stops;

/* Where the first of them begins in text; its length when there is none. */
size_t lpo_stops_find(const lpo_stops *s, const char *text);
/* How many bytes of text's end may be the beginning of one: not to be shown yet. */
size_t lpo_stops_held(const lpo_stops *s, const char *text);

/* One answer as it comes. It remembers as many tokens as the longest string may span. */
typedef struct lpo_stop_watch {
    lpo_tokenizer *tokenizer;
    lpo_stops stops;
    int32_t *last;
    int n, cap;
} lpo_stop_watch;

lpo_status lpo_stop_watch_init(lpo_stop_watch *w, lpo_tokenizer *t, lpo_stops stops, lpo_error *err);
void lpo_stop_watch_clear(lpo_stop_watch *w);
/* *over: the answer ends with this token. */
lpo_status lpo_stop_watch_hear(lpo_stop_watch *w, bool *over, int32_t id, lpo_error *err);
#endif
