/* SPDX-License-Identifier: Apache-2.0 */
/* generate_text.c -- one answer about one video, streamed as it comes. */
#include "leanpo/train.h"
#include "train/session.h"

#include <stdlib.h>
#include <string.h>

lpo_generate_options lpo_generate_options_default(void) {
    lpo_gen_options g = lpo_gen_options_default();
    return (lpo_generate_options){.max_tokens = g.max_tokens,
                                  .temperature = 0,
                                  .top_p = 1,
                                  .n_samples = 1,
                                  .batch_size = 64,
                                  .max_bad = .01};
}

/* Decodes all ids so far at every token and passes on what is new: a character of several tokens comes out
 * whole. */
typedef struct stream {
    lpo_session *s;
    lpo_stops stops;
    lpo_ids ids;
    size_t sent;
    void (*piece)(void *user, const char *text);
    void *user;
} stream;

static int on_token(void *user, int seq, int32_t id) {
    stream *st = user;
    char *text;
    size_t n;
    (void)seq;
    if (lpo_ids_push(&st->ids, id, NULL) ||
        lpo_tokenizer_decode(&text, &n, st->s->recipe.tokenizer, st->ids.ids, st->ids.n, 1, NULL))
        return 1;
    const size_t end = lpo_stops_find(&st->stops, text);
    n = end < n ? end : n - lpo_stops_held(&st->stops, text);
    bool cut = n >= 3 && !memcmp(text + n - 3, "\xef\xbf\xbd", 3); /* U+FFFD: a character still incomplete */
    if (!cut && n > st->sent) {
        text[n] = 0;
        st->piece(st->user, text + st->sent);
        st->sent = n;
    }
    free(text);
    return 0;
}

lpo_status lpo_generate_text(char **answer, const lpo_generate_options *o,
                             void (*piece)(void *user, const char *text), void *user, lpo_error *err) {
    *answer = NULL;
    lpo_session s;
    lpo_clip clip = {0};
    lpo_augment aug = {0};
    if (!o->prompt) return lpo_fail(err, LPO_EINVAL, "no prompt given (--prompt TEXT)");
    lpo_status st = o->augment ? lpo_augment_parse(&aug, o->augment, err) : LPO_OK;
    if (st) return st;
    st = lpo_session_open(&s, o->model, o->adapter, o->place, o->dtype, o->chat_template, &o->clips,
                          o->n_threads, err);
    if (st) return st;
    if (o->video) st = lpo_prep_video(&clip, o->video, &s.recipe.prep, o->augment ? &aug : NULL, err);
    if (!st) {
        lpo_gen_options g = lpo_gen_options_default();
        g.max_tokens = o->max_tokens;
        g.temperature = o->temperature;
        g.top_p = o->top_p;
        g.top_k = o->top_k;
        g.seed = o->seed;
        const lpo_stops stops = {o->stop, o->n_stop};
        lpo_ask ask = {o->prompt, o->video ? &clip : NULL, 0, stops};
        stream out = {.s = &s, .stops = stops, .piece = piece, .user = user};
        st = lpo_session_answer(answer, NULL, &s, &ask, 1, &g, piece ? on_token : NULL, &out, err);
        if (!st && piece && strlen(*answer) > out.sent) piece(user, *answer + out.sent);
        lpo_ids_clear(&out.ids);
    }
    lpo_clip_clear(&clip);
    lpo_session_close(&s);
    return st;
}
