/* SPDX-License-Identifier: Apache-2.0 */
/* pairs.c -- the run: blocks in, blocks out, and the generator fed in between (see pairs_run.h). One thread
 * drives the model; others decode videos and wait for the judge. */
#include "base/clock.h"
#include "base/file.h"
#include "train/pairs_result.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const size_t IDLE_BYTES = (size_t)1 << 30; /* of frames kept for lines to come */

lpo_pairs_options lpo_pairs_options_default(void) {
    return (lpo_pairs_options){.templates = "plain",
                               .augment = "grey|noise=40|shuffle|reverse",
                               .trust = "content_f1",
                               .judge_timeout_s = 60,
                               .judge_retries = 2,
                               .judge_parallel = 4,
                               .max_tokens = 128,
                               .batch_size = 64,
                               .temperature_chosen = .7,
                               .temperature_rejected = 1,
                               .top_p = 1,
                               .min_gap = .1,
                               .max_bad = .01};
}

static lpo_status check_options(const lpo_pairs_options *o, lpo_error *err) {
    if (!o->data) return lpo_fail(err, LPO_EINVAL, "no data file given (--data F.jsonl)");
    if (!o->out) return lpo_fail(err, LPO_EINVAL, "no output file given (--out F.jsonl)");
    if (o->batch_size < 1 || o->batch_size > 65536)
        return lpo_fail(err, LPO_EINVAL, "--batch-size %d: give 1..65536", o->batch_size);
    if (o->max_tokens < 1)
        return lpo_fail(err, LPO_EINVAL, "--max-tokens %d: give at least 1", o->max_tokens);
    if (!(o->temperature_chosen >= 0) || !(o->temperature_rejected >= 0) ||
        !(o->top_p > 0 && o->top_p <= 1) || o->top_k < 0)
        return lpo_fail(err, LPO_EINVAL,
                        "temperatures %g and %g, top_p %g, top_k %d: expected >= 0, >= 0, in (0, 1], >= 0",
                        o->temperature_chosen, o->temperature_rejected, o->top_p, o->top_k);
    if (o->limit < 0)
        return lpo_fail(err, LPO_EINVAL, "--limit %lld: give a number of questions, 0 for all",
                        (long long)o->limit);
    if (!isfinite(o->min_gap) || !(o->max_bad >= 0))
        return lpo_fail(err, LPO_EINVAL, "--min-gap %g, --max-bad %g: expected finite, >= 0", o->min_gap,
                        o->max_bad);
    if (!o->judge_cmd && !o->judge_url && !lpo_trust_by_name(o->trust ? o->trust : ""))
        return lpo_fail(err, LPO_EINVAL, "--trust %s: choose content_f1, token_f1, chrf or exact",
                        o->trust ? o->trust : "");
    return LPO_OK;
}

/* Everything that can be refused without a model, then the model. */
static lpo_status open_inputs(pairs_run *r, bool *finished, lpo_error *err) {
    const lpo_pairs_options *o = r->o;
    const char *spec = o->augment ? o->augment : "none";
    lpo_status s = lpo_view_choice_parse(&r->augment, spec, err);
    if (s) return s;
    r->augmented = r->augment.n > 0;
    s = lpo_prompts_open(&r->prompts, o->templates, err);
    r->trust = o->judge_cmd || o->judge_url ? NULL : lpo_trust_by_name(o->trust);
    if (!s) s = lpo_record_count(&r->census, o->data, LPO_NEED_ANSWER, o->max_bad, err);
    if (!s) s = lpo_record_reader_open(&r->reader, o->data, LPO_NEED_ANSWER, err);
    r->same_folder = lpo_path_same_dir(o->data, o->out);
    if (!s) s = pairs_files_open(r, finished, err);
    if (!s && !*finished)
        s = lpo_record_check_share(&r->census, o->data, r->counts.n_bad, o->max_bad, r->written_line,
                                   "(see quarantine.jsonl)", err);
    r->judge_before = r->counts.judge;
    r->questions_before = r->counts.n_questions;
    r->told = r->questions_before > 0;
    if (!s && !r->trust && !*finished) s = lpo_judge_create(&r->judge, o, r->judge_before.calls, err);
    return s;
}

static lpo_status open_model(pairs_run *r, lpo_error *err) {
    const lpo_pairs_options *o = r->o;
    lpo_status s = lpo_session_open(&r->session, o->model, o->adapter, o->place, o->dtype, o->chat_template,
                                    &o->clips, o->n_threads, err);
    const lpo_generator_options go = {.max_seqs = o->batch_size};
    if (!s) s = lpo_generator_create(&r->gen, r->session.model, &go, err);
    if (!s) s = lpo_engine_open(&r->engine, r->session.model, false, err);
    if (!s)
        s = lpo_view_store_create(&r->views, &r->session.recipe.prep, &r->augment, o->seed,
                                  r->session.n_threads, IDLE_BYTES, PAIRS_TAKEN_BYTES, err);
    /* Enough lines under way that the generator is full while the oldest are scored and the newest decoded.
     */
    r->depth = 3 + o->batch_size / PAIRS_BLOCK;
    r->ring = s ? NULL : calloc((size_t)r->depth, sizeof *r->ring);
    if (!s && !r->ring) s = lpo_fail(err, LPO_ENOMEM, "out of memory for %d blocks of lines", r->depth);
    for (int i = 0; i < r->depth && !s; i++) {
        r->ring[i].arena = lpo_arena_create(1 << 14);
        r->ring[i].judge_arena = lpo_arena_create(1 << 14);
        if (!r->ring[i].arena || !r->ring[i].judge_arena) s = lpo_fail(err, LPO_ENOMEM, "out of memory");
    }
    return s;
}

/* ---- the judge's thread ---- */

/* The oldest blocks whose answers are there and nobody has judged, at most `most`; under the lock. Blocks are
 * judged in their order. */
static int next_to_judge(pairs_block **out, pairs_run *r, int most) {
    int n = 0;
    for (int i = 0; i < r->n_blocks && n < most; i++) {
        pairs_block *b = pairs_block_at(r, i);
        if (b->judged) continue;
        if (!pairs_block_answered(b)) break;
        out[n++] = b;
    }
    return n;
}

static void *judge_blocks(void *arg) {
    pairs_run *r = arg;
    pthread_mutex_lock(&r->lock);
    for (;;) {
        while (!r->judge_stop && !r->n_to_judge) pthread_cond_wait(&r->changed, &r->lock);
        if (r->judge_stop) break;
        pthread_mutex_unlock(&r->lock);
        lpo_error err;
        const lpo_status s = pairs_trust(r, r->to_judge, r->n_to_judge, &err);
        pthread_mutex_lock(&r->lock);
        for (int i = 0; i < r->n_to_judge; i++) r->to_judge[i]->judged = !s;
        r->n_to_judge = 0;
        if (s) {
            r->judge_status = s;
            r->judge_err = err;
        }
        pthread_cond_broadcast(&r->changed);
        if (s) break;
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* Hands the next answered blocks over, as many as the judge may be asked about at a time; without a judge it
 * is scored on the spot. wait: until one is judged, or for a tick, after which the caller looks whether the
 * run is still wanted. */
static lpo_status judge(pairs_run *r, bool wait, lpo_error *err) {
    lpo_status s = LPO_OK;
    pthread_mutex_lock(&r->lock);
    if (!r->n_to_judge) {
        const int most = 1 + (r->judge ? r->o->judge_parallel / PAIRS_BLOCK : 0);
        const int n = next_to_judge(r->to_judge, r, most < PAIRS_JUDGED ? most : PAIRS_JUDGED);
        if (r->judge && n) {
            r->n_to_judge = n;
            pthread_cond_broadcast(&r->changed);
        } else if (n) {
            s = pairs_trust(r, r->to_judge, n, err);
            r->to_judge[0]->judged = !s;
        }
    }
    if (wait && r->n_to_judge && !r->judge_status) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += LPO_JUDGE_TICK_MS * 1000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        const double begin_s = lpo_now_s();
        pthread_cond_timedwait(&r->changed, &r->lock, &until);
        r->wait_judge_s += lpo_now_s() - begin_s;
    }
    if (r->judge_status && !s) {
        s = r->judge_status;
        if (err) *err = r->judge_err;
    }
    pthread_mutex_unlock(&r->lock);
    return s;
}

static bool oldest_is_judged(pairs_run *r) {
    pthread_mutex_lock(&r->lock);
    const bool judged = r->n_blocks && pairs_block_at(r, 0)->judged;
    pthread_mutex_unlock(&r->lock);
    return judged;
}

/* ---- the run ---- */

/* Early in a run of hours it should be seen that it yields next to nothing. */
static void warn_of_waste(pairs_run *r) {
    enum { EARLY = 256, FEW = EARLY / 20 };
    const pairs_counts *c = &r->counts;
    if (r->told || c->n_questions < EARLY) return;
    r->told = true;
    if (c->n_pairs >= FEW) return;
    lpo_log(
        LPO_LOG_WARN,
        "the first %lld questions gave %lld pairs (%lld with too small a gap, %lld with winner and loser "
        "alike, "
        "%lld with an empty answer, %lld without the judge's score): %s.partial/candidates.jsonl shows the "
        "answers",
        (long long)c->n_questions, (long long)c->n_pairs, (long long)c->n_dropped[PAIRS_GAP],
        (long long)c->n_dropped[PAIRS_IDENTICAL], (long long)c->n_dropped[PAIRS_EMPTY],
        (long long)c->n_dropped[PAIRS_JUDGE], r->o->out);
}

static lpo_status finish_oldest(pairs_run *r, lpo_error *err) {
    pairs_block *b = pairs_block_at(r, 0);
    const int64_t bad_before = r->counts.n_bad;
    lpo_status s = pairs_score(r, b, err);
    if (!s) s = pairs_files_put(r, b, err);
    if (s) return s;
    for (int i = 0; i < b->n && !s && r->counts.n_bad > bad_before; i++)
        if (b->item[i].reason) {
            s = lpo_record_check_share(&r->census, r->o->data, r->counts.n_bad, r->o->max_bad,
                                       b->item[i].rec.line, b->item[i].reason, err);
            break;
        }
    lpo_generator_let_go(r->gen); /* of a clip that goes with the block */
    pairs_block_clear(r, b);
    pthread_mutex_lock(&r->lock);
    r->first = (r->first + 1) % r->depth;
    r->n_blocks--;
    pthread_mutex_unlock(&r->lock);
    warn_of_waste(r);
    return s ? s : pairs_files_commit_due(r, err);
}

static int64_t total_lines(const pairs_run *r) {
    const int64_t all = r->census.n_good + r->census.n_bad;
    return r->o->limit > 0 && r->o->limit < all ? r->o->limit : all;
}

static lpo_status drive(pairs_run *r, lpo_progress_fn *progress, void *user, lpo_error *err) {
    lpo_status s = LPO_OK;
    while (!s) {
        s = pairs_read_blocks(r, err);
        r->complete = !s && !r->n_blocks;
        if (s || r->complete) break;
        s = pairs_start_items(r, err);
        const bool generating = lpo_generator_pending(r->gen) > 0;
        if (!s) s = judge(r, !generating, err);
        if (s) break;
        if (oldest_is_judged(r))
            s = finish_oldest(r, err);
        else if (generating)
            s = pairs_take_answer(r, err);
        if (!s && progress && progress(user, "making pairs", r->counts.n_lines, total_lines(r)))
            s = lpo_fail(err, LPO_ECANCELED, "interrupted; --resume goes on after line %lld",
                         (long long)r->written_line);
    }
    return s;
}

static lpo_status run(pairs_run *r, lpo_progress_fn *progress, void *user, lpo_error *err) {
    pthread_t thread;
    lpo_status s = LPO_OK;
    if (r->judge && pthread_create(&thread, NULL, judge_blocks, r))
        return lpo_fail(err, LPO_ENOMEM, "cannot start the judge's thread");
    s = drive(r, progress, user, err);
    if (r->judge) {
        pthread_mutex_lock(&r->lock);
        r->judge_stop = true;
        pthread_cond_broadcast(&r->changed);
        pthread_mutex_unlock(&r->lock);
        if (s) lpo_judge_cancel(r->judge);
        pthread_join(thread, NULL);
        pairs_judge_counts(r);
    }
    /* What is written counts, however the run ends. */
    lpo_error ignored;
    const lpo_status committed = pairs_files_commit(r, s ? &ignored : err);
    return s ? s : committed;
}

/* What answers and scores; not needed for the summary, which may want that memory for its ranks. */
static void close_model(pairs_run *r) {
    lpo_generator_stats g;
    if (r->gen) lpo_generator_get_stats(&g, r->gen), r->n_new_tokens = g.new_tokens;
    if (r->views) r->n_decoded = lpo_view_store_decoded(r->views);
    lpo_generator_destroy(r->gen); /* before the clips it borrows */
    for (int i = 0; r->ring && i < r->depth; i++) {
        if (r->ring[i].arena && r->ring[i].judge_arena) pairs_block_clear(r, &r->ring[i]);
        lpo_arena_destroy(r->ring[i].arena);
        lpo_arena_destroy(r->ring[i].judge_arena);
    }
    free(r->ring);
    lpo_view_store_destroy(r->views);
    lpo_engine_close(&r->engine);
    lpo_session_close(&r->session);
    r->gen = NULL;
    r->ring = NULL;
    r->views = NULL;
    r->engine = (lpo_engine){0};
    r->session = (lpo_session){0};
}

static void close_all(pairs_run *r) {
    close_model(r);
    lpo_judge_destroy(r->judge);
    pairs_files_close(r);
    lpo_record_reader_close(r->reader);
    lpo_prompts_close(&r->prompts);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
}

lpo_status lpo_pairs(lpo_pairs_result *out, const lpo_pairs_options *o, lpo_progress_fn *progress, void *user,
                     lpo_error *err) {
    memset(out, 0, sizeof *out);
    lpo_status s = check_options(o, err);
    if (s) return s;
    if (!o->model) return lpo_fail(err, LPO_EINVAL, "no model folder given (--model DIR)");
    bool finished = false;
    pairs_run r = {.o = o, .start_s = lpo_now_s()};
    pthread_mutex_init(&r.lock, NULL);
    pthread_cond_init(&r.changed, NULL);
    s = open_inputs(&r, &finished, err);
    if (!s && !finished) s = open_model(&r, err);
    if (!s && !finished) s = run(&r, progress, user, err);
    close_model(&r);
    if (!s) s = pairs_files_finish(out, &r, err);
    close_all(&r);
    return s;
}
