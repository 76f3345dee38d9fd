/* SPDX-License-Identifier: Apache-2.0 */
/* pairs_answer.c -- from a line to its answers.
 * A line's first answer and its loser are asked for together, as soon as its video is decoded; the reflection
 * when the first answer is there. The random stream of an answer is 4*line + role. */
#include "base/clock.h"
#include "train/pairs_run.h"

#include <stdlib.h>
#include <string.h>

void pairs_item_reject(pairs_block *b, pairs_item *it, const char *reason) {
    if (it->reason) return;
    it->reason = lpo_arena_strdup(b->arena, reason);
    if (!it->reason) it->reason = "out of memory";
    it->fate = PAIRS_BAD;
}

void pairs_block_clear(pairs_run *r, pairs_block *b) {
    for (int i = 0; i < b->n; i++) {
        pairs_item *it = &b->item[i];
        lpo_views_drop(r->views, it->views);
        for (int k = 0; k < PAIRS_ROLES; k++) free(it->text[k]);
        json_decref((json_t *)(uintptr_t)it->rec.json);
    }
    lpo_arena_reset(b->arena);
    lpo_arena_reset(b->judge_arena);
    memset(b->item, 0, sizeof b->item);
    b->n = b->n_started = 0;
    b->judged = false;
}

/* The truth is the "answer"; in a set of pairs without one, what was chosen there. */
static const char *truth_of(const lpo_record *rec) {
    const char *a = json_string_value(json_object_get(rec->json, "answer"));
    return a && !lpo_text_blank(a) ? a : rec->chosen;
}

static lpo_status read_item(pairs_run *r, pairs_block *b, lpo_error *err) {
    pairs_item *it = &b->item[b->n];
    const char *reason;
    lpo_status s = lpo_record_reader_next(&it->rec, &reason, r->reader, b->arena, err);
    if (s) return s;
    b->n++;
    if (reason) {
        pairs_item_reject(b, it, reason);
        it->started = true;
        b->n_started++;
        return LPO_OK;
    }
    r->n_read++;
    it->truth = truth_of(&it->rec);
    return lpo_views_take(&it->views, r->views, it->rec.video,
                          json_string_value(json_object_get(it->rec.json, "video")), err);
}

lpo_status pairs_read_blocks(pairs_run *r, lpo_error *err) {
    while (!r->at_end && r->n_blocks < r->depth &&
           (r->n_blocks == 0 || lpo_view_store_taken_bytes(r->views) < PAIRS_TAKEN_BYTES)) {
        pairs_block *b = pairs_block_at(r, r->n_blocks);
        lpo_status s = LPO_OK;
        while (b->n < PAIRS_BLOCK && !s && !r->at_end) {
            r->at_end = r->o->limit > 0 && r->n_read >= r->o->limit;
            if (!r->at_end) s = read_item(r, b, err);
            if (s == LPO_EEND) {
                s = LPO_OK;
                r->at_end = true;
            }
        }
        lpo_record_reader_tell(r->reader, &b->end_offset, &b->end_line);
        if (b->n) r->n_blocks++;
        if (s) return s;
    }
    return LPO_OK;
}

/* One request for one role of a line. A prompt the model cannot take makes the line unusable. */
static lpo_status ask(pairs_run *r, pairs_block *b, pairs_item *it, pairs_role role, const char *question) {
    const int view = role == PAIRS_LOSER && r->augmented;
    lpo_error why;
    lpo_ids ids = {0};
    lpo_status s = question
                       ? lpo_recipe_prompt(&ids, &r->session.recipe, question, &it->views->clip[view], &why)
                       : lpo_fail(&why, LPO_ENOMEM, "out of memory");
    if (!s) {
        const lpo_pairs_options *o = r->o;
        lpo_gen_request q = {.ids = ids.ids,
                             .n_ids = (int32_t)ids.n,
                             .clip = &it->views->input[view],
                             .stream = 4 * (uint64_t)it->rec.line + role,
                             .options = lpo_gen_options_default(),
                             .more = role == PAIRS_DRAFT, /* the reflection, on the same clip */
                             .user = (uint64_t)(b - r->ring) * PAIRS_BLOCK * PAIRS_ROLES +
                                     (uint64_t)(it - b->item) * PAIRS_ROLES + role};
        q.options.max_tokens = o->max_tokens;
        q.options.temperature = role == PAIRS_LOSER ? o->temperature_rejected : o->temperature_chosen;
        q.options.top_p = o->top_p;
        q.options.top_k = o->top_k;
        q.options.seed = o->seed;
        q.options.n_valid = lpo_tokenizer_size(r->session.recipe.tokenizer);
        s = lpo_generator_add(r->gen, &q, &why);
    }
    lpo_ids_clear(&ids);
    if (s)
        pairs_item_reject(b, it, why.msg);
    else
        it->n_open++;
    return s == LPO_ENOMEM ? s : LPO_OK;
}

static lpo_status start_item(pairs_run *r, pairs_block *b, pairs_item *it, lpo_error *err) {
    lpo_error why;
    it->started = true;
    b->n_started++;
    const double begin_s = lpo_now_s();
    const lpo_status seen = lpo_views_wait(r->views, it->views, &why);
    r->wait_videos_s += lpo_now_s() - begin_s;
    if (seen) {
        pairs_item_reject(b, it, why.msg);
        return LPO_OK;
    }
    const lpo_prompt_values v = {.question = it->rec.prompt, .answer = it->truth};
    const char *first =
        r->o->no_prior ? it->rec.prompt : lpo_prompts_fill(b->arena, &r->prompts, LPO_PROMPT_PRIOR, &v);
    lpo_status s = ask(r, b, it, r->o->no_reflection ? PAIRS_WINNER : PAIRS_DRAFT, first);
    if (!s && !it->reason) s = ask(r, b, it, PAIRS_LOSER, it->rec.prompt);
    return s ? lpo_fail(err, s, "out of memory for the answers to line %lld", (long long)it->rec.line)
             : LPO_OK;
}

lpo_status pairs_start_items(pairs_run *r, lpo_error *err) {
    for (int i = 0; i < r->n_blocks; i++) {
        pairs_block *b = pairs_block_at(r, i);
        for (int k = 0; b->n_started < b->n && k < b->n; k++) {
            pairs_item *it = &b->item[k];
            if (it->started) continue;
            if (i == 0) lpo_views_want(r->views, it->views); /* until the oldest block is done, none is */
            /* With nothing else to do, waiting for the next video is all there is. */
            if (!lpo_views_ready(r->views, it->views) && lpo_generator_pending(r->gen)) continue;
            lpo_status s = start_item(r, b, it, err);
            if (s) return s;
        }
    }
    return LPO_OK;
}

/* Without the white space around it; what is left of the buffer is the caller's. */
static void strip(char *s) {
    const size_t lead = strspn(s, " \t\r\n");
    size_t n = strlen(s + lead);
    while (n && strchr(" \t\r\n", s[lead + n - 1])) n--;
    memmove(s, s + lead, n);
    s[n] = 0;
}

static lpo_status reflect(pairs_run *r, pairs_block *b, pairs_item *it, lpo_error *err) {
    if (it->reason) return LPO_OK;
    const lpo_prompt_values v = {
        .question = it->rec.prompt, .answer = it->truth, .draft = it->text[PAIRS_DRAFT]};
    lpo_status s =
        ask(r, b, it, PAIRS_WINNER, lpo_prompts_fill(b->arena, &r->prompts, LPO_PROMPT_REFLECT, &v));
    return s ? lpo_fail(err, s, "out of memory for the answers to line %lld", (long long)it->rec.line)
             : LPO_OK;
}

lpo_status pairs_take_answer(pairs_run *r, lpo_error *err) {
    lpo_gen_seq seq;
    uint64_t user;
    lpo_status s = lpo_generator_next(&seq, &user, r->gen, err);
    if (s) return s;
    pairs_block *b = &r->ring[user / (PAIRS_BLOCK * PAIRS_ROLES)];
    pairs_item *it = &b->item[user / PAIRS_ROLES % PAIRS_BLOCK];
    const pairs_role role = (pairs_role)(user % PAIRS_ROLES);
    size_t n;
    s = lpo_tokenizer_decode(&it->text[role], &n, r->session.recipe.tokenizer, seq.ids, (size_t)seq.n_ids, 1,
                             err);
    lpo_gen_seq_clear(&seq);
    if (s) return s;
    strip(it->text[role]);
    it->n_open--;
    return role == PAIRS_DRAFT ? reflect(r, b, it, err) : LPO_OK;
}

bool pairs_block_answered(const pairs_block *b) {
    if (b->n_started < b->n) return false;
    for (int i = 0; i < b->n; i++)
        if (b->item[i].n_open) return false;
    return true;
}
