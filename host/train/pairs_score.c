/* SPDX-License-Identifier: Apache-2.0 */
/* pairs_score.c -- how good a line's answers are: trust against the truth, then, for what has answers, the
 * rewards under the policy without the prior, and for what is kept the grounding
 * D = [log pi(y_w | V) - log pi(y_w | A(V))] / n_w, which is large when the winner needs the video. */
#include "train/pairs_run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FORWARD_TOKENS = 8192 }; /* in one pass of the model */

static bool has_answers(const pairs_item *it) {
    return !it->reason && it->text[PAIRS_WINNER] && it->text[PAIRS_LOSER] && it->text[PAIRS_WINNER][0] &&
           it->text[PAIRS_LOSER][0];
}

static bool identical(const pairs_item *it) {
    return !strcmp(it->text[PAIRS_WINNER], it->text[PAIRS_LOSER]);
}

static pairs_fate fate_of(const pairs_run *r, const pairs_item *it) {
    if (it->reason) return PAIRS_BAD;
    if (!has_answers(it)) return PAIRS_EMPTY;
    if (identical(it)) return PAIRS_IDENTICAL;
    if (!isfinite(it->trust[PAIRS_WINNER]) || !isfinite(it->trust[PAIRS_LOSER])) return PAIRS_JUDGE;
    return it->trust[PAIRS_WINNER] > it->trust[PAIRS_LOSER] + r->o->min_gap ? PAIRS_KEPT : PAIRS_GAP;
}

/* What a judge is asked about, and where its score goes. */
typedef struct questions {
    lpo_judge_ask ask[2 * PAIRS_BLOCK * PAIRS_JUDGED];
    double *to[2 * PAIRS_BLOCK * PAIRS_JUDGED];
    int n;
} questions;

/* A judge is asked about what is not settled without it. */
static lpo_status add_questions(questions *q, const pairs_run *r, pairs_block *b, lpo_error *err) {
    for (int i = 0; i < b->n; i++) {
        pairs_item *it = &b->item[i];
        it->trust[PAIRS_WINNER] = it->trust[PAIRS_LOSER] = (double)NAN;
        for (int k = PAIRS_WINNER; has_answers(it) && !identical(it) && k <= PAIRS_LOSER; k++) {
            const lpo_prompt_values v = {
                .question = it->rec.prompt, .answer = it->truth, .candidate = it->text[k]};
            const char *prompt = lpo_prompts_fill(b->judge_arena, &r->prompts, LPO_PROMPT_JUDGE, &v);
            if (!prompt) return lpo_fail(err, LPO_ENOMEM, "out of memory for the judge's prompts");
            q->ask[q->n] = (lpo_judge_ask){it->rec.id, it->rec.prompt, it->truth, it->text[k], prompt, 0};
            q->to[q->n++] = &it->trust[k];
        }
    }
    return LPO_OK;
}

static lpo_status ask_judge(pairs_run *r, pairs_block *const *b, int n, lpo_error *err) {
    questions q;
    lpo_status s = LPO_OK;
    q.n = 0;
    for (int i = 0; i < n && !s; i++) s = add_questions(&q, r, b[i], err);
    if (!s) s = lpo_judge_score(r->judge, q.ask, q.n, err);
    for (int i = 0; i < q.n && !s; i++) *q.to[i] = q.ask[i].score;
    return s;
}

lpo_status pairs_trust(pairs_run *r, pairs_block *const *b, int n, lpo_error *err) {
    if (r->judge) {
        lpo_status s = ask_judge(r, b, n, err);
        if (s) return s;
    }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < b[i]->n; j++) {
            pairs_item *it = &b[i]->item[j];
            for (int k = PAIRS_WINNER; !r->judge && has_answers(it) && k <= PAIRS_LOSER; k++)
                it->trust[k] = r->trust(it->text[k], it->truth);
            it->fate = fate_of(r, it);
        }
    return LPO_OK;
}

/* Answers to score: samples of one batch, each with the place its mean goes to. */
typedef struct scoring {
    lpo_sample sample[3 * PAIRS_BLOCK];
    double *to[3 * PAIRS_BLOCK];
    lpo_batch_clip clip[2 * PAIRS_BLOCK];
    const lpo_clip_input *input[2 * PAIRS_BLOCK]; /* of the clips */
    int n, n_clips;
} scoring;

static int32_t clip_number(scoring *sc, const lpo_clip_input *c) {
    for (int i = 0; i < sc->n_clips; i++)
        if (sc->input[i] == c) return i;
    sc->input[sc->n_clips] = c;
    sc->clip[sc->n_clips] =
        (lpo_batch_clip){c->patches, c->grid_t, c->grid_h, c->grid_w, c->second_per_grid, c->levels};
    return sc->n_clips++;
}

/* false: prompt and answer are longer than the model's context, and the line is rejected. */
static bool add_answer(pairs_run *r, pairs_block *b, scoring *sc, pairs_item *it, int view, const char *text,
                       double *to) {
    const lpo_recipe *p = &r->session.recipe;
    lpo_sample *s = &sc->sample[sc->n];
    lpo_error why;
    *s = (lpo_sample){.record = &it->rec, .clip = clip_number(sc, &it->views->input[view])};
    lpo_status st = lpo_recipe_prompt(&s->chosen, p, it->rec.prompt, &it->views->clip[view], &why);
    s->n_prompt = (int32_t)s->chosen.n;
    if (!st) st = lpo_recipe_response(&s->chosen, p, text, &why);
    if (!st && s->chosen.n > (size_t)p->max_positions)
        st = lpo_fail(&why, LPO_ELIMIT, "prompt and answer are %zu tokens, over the model's context of %d",
                      s->chosen.n, p->max_positions);
    if (st) {
        lpo_ids_clear(&s->chosen);
        pairs_item_reject(b, it, why.msg);
        return false;
    }
    sc->to[sc->n++] = to;
    return true;
}

static lpo_status run_scoring(pairs_run *r, scoring *sc, lpo_error *err) {
    const lpo_batch batch = {
        .n_samples = sc->n, .n_clips = sc->n_clips, .samples = sc->sample, .clips = sc->clip};
    lpo_status s = LPO_OK;
    for (int first = 0, n; first < sc->n && !s; first += n) {
        size_t tokens = 0;
        for (n = 0; first + n < sc->n; n++) {
            tokens += sc->sample[first + n].chosen.n;
            if (n && tokens > FORWARD_TOKENS) break;
        }
        lpo_rows rows;
        s = lpo_engine_forward(&rows, &r->engine, &batch, first, n, false, false, err);
        for (int i = 0; i < n && !s; i++) {
            double sum = 0;
            for (int64_t t = rows.start_w[i]; t < rows.start_w[i + 1]; t++) sum += rows.t_w[t];
            *sc->to[first + i] = sum / (double)(rows.start_w[i + 1] - rows.start_w[i]);
        }
    }
    return s;
}

lpo_status pairs_score(pairs_run *r, pairs_block *b, lpo_error *err) {
    scoring sc = {.n = 0};
    double blind[PAIRS_BLOCK] = {0}; /* log pi(y_w | A(V)) / n_w */
    for (int i = 0; i < b->n; i++) {
        pairs_item *it = &b->item[i];
        if (!has_answers(it)) continue;
        bool fits = add_answer(r, b, &sc, it, 0, it->text[PAIRS_WINNER], &it->reward[PAIRS_WINNER]);
        if (fits && !identical(it))
            fits = add_answer(r, b, &sc, it, 0, it->text[PAIRS_LOSER], &it->reward[PAIRS_LOSER]);
        if (fits && it->fate == PAIRS_KEPT && r->augmented)
            add_answer(r, b, &sc, it, 1, it->text[PAIRS_WINNER], &blind[i]);
    }
    lpo_status s = run_scoring(r, &sc, err);
    for (int i = 0; i < b->n; i++) {
        pairs_item *it = &b->item[i];
        if (it->fate == PAIRS_IDENTICAL) it->reward[PAIRS_LOSER] = it->reward[PAIRS_WINNER];
        if (it->fate == PAIRS_KEPT && r->augmented) it->grounding = it->reward[PAIRS_WINNER] - blind[i];
    }
    for (int i = 0; i < sc.n; i++) lpo_ids_clear(&sc.sample[i].chosen);
    return s;
}
