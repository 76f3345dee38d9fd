/* SPDX-License-Identifier: Apache-2.0 */
/* generate_data.c -- answers to the lines of a file, as many as one likes.
 * Lines are read into a ring; while the videos of the newest are being decoded (pairs_views.h) those before
 * them are answered, and the oldest, once all its answers are there, is written (partial.h). The random
 * stream of an answer is 1024*line + sample. One thread drives the model. */
#include "base/clock.h"
#include "base/file.h"
#include "leanpo/train.h"
#include "model/generator.h"
#include "train/pairs_views.h"
#include "train/partial.h"
#include "train/session.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SAMPLES = 1024, AHEAD = 32 /* lines whose videos are being decoded */ };
static const size_t TAKEN_BYTES = (size_t)4 << 30; /* of clips under way, beyond which no line is read */
static const size_t IDLE_BYTES = (size_t)1 << 30;  /* of frames kept for lines to come */

enum { ANSWERS, QUARANTINE, FILES };
static const lpo_partial_file FILE_OF[FILES] = {
    {"answers.jsonl", NULL, false},
    {"quarantine.jsonl", ".quarantine.jsonl", true},
};

typedef struct answer {
    lpo_stop_watch watch;
    char *text; /* malloc'd */
    bool cut;   /* it did not end by itself */
} answer;

typedef struct line {
    lpo_record rec; /* its json is the line's */
    lpo_arena *arena;
    const char *reason; /* not NULL: the line is unusable, and why */
    lpo_views *views;
    bool started;
    int n_open;     /* answers not there yet */
    answer *answer; /* [n_samples] */
    int64_t n_tokens;
    int64_t end_offset, end_line; /* of the data file, after it */
} line;

/* What has been written; all of it survives a kill. */
typedef struct counts {
    int64_t parsed, lines, bad, answers, tokens, empty, cut;
} counts;

typedef struct run {
    const lpo_generate_options *o;
    lpo_generate_result *res;
    lpo_gen_options gen_options;
    lpo_stops stops;
    lpo_session session;
    lpo_view_choice augment;
    lpo_record_reader *reader;
    lpo_record_census census;
    lpo_view_store *views;
    lpo_generator *gen;
    json_t *identity;
    lpo_partial_options output;
    lpo_partial *partial;
    counts counts;
    int64_t lines_before; /* answered by earlier processes */
    int64_t written_offset, written_line, n_read;
    double start_s;
    bool same_folder, at_end, complete;
    line *ring; /* oldest at first */
    int depth, first, n;
    lpo_progress_fn *progress;
    void *user;
    int64_t total;
    double reported_s;
    bool interrupted;
    lpo_error watch_err;
} run;

static line *line_at(const run *r, int i) {
    return &r->ring[(r->first + i) % r->depth];
}

/* ---- counts ---- */

static const struct {
    const char *name;
    size_t at;
} COUNT[] = {{"parsed", offsetof(counts, parsed)}, {"lines", offsetof(counts, lines)},
             {"bad", offsetof(counts, bad)},       {"answers", offsetof(counts, answers)},
             {"tokens", offsetof(counts, tokens)}, {"empty", offsetof(counts, empty)},
             {"cut", offsetof(counts, cut)}};
enum { COUNTS = sizeof COUNT / sizeof *COUNT };

static json_t *counts_to_json(const counts *c) {
    json_t *o = json_object();
    for (int i = 0; i < COUNTS; i++)
        json_object_set_new(o, COUNT[i].name,
                            json_integer((json_int_t) * (const int64_t *)((const char *)c + COUNT[i].at)));
    return o;
}

static lpo_status counts_from_json(counts *c, const json_t *o, const char *where, lpo_error *err) {
    lpo_status s = LPO_OK;
    for (int i = 0; i < COUNTS && !s; i++)
        s = lpo_json_int((int64_t *)((char *)c + COUNT[i].at), o, COUNT[i].name, 0, INT64_MAX, where, err);
    return s;
}

static void update_result(run *r) {
    lpo_generator_stats g = {0};
    if (r->gen) lpo_generator_get_stats(&g, r->gen);
    const counts *c = &r->counts;
    const double s = r->start_s > 0 ? lpo_now_s() - r->start_s : 0;
    *r->res = (lpo_generate_result){
        .n_lines = c->lines,
        .n_bad = c->bad,
        .n_answers = c->answers,
        .n_tokens = c->tokens,
        .n_empty = c->empty,
        .n_cut = c->cut,
        .n_decoded = r->views ? lpo_view_store_decoded(r->views) : 0,
        .n_encoded = g.clips,
        .prompt_tokens = g.prompt_tokens,
        .shared_tokens = g.shared_tokens,
        .seconds = s,
        .lines_per_s = s > 0 ? (double)(c->lines - r->lines_before) / s : 0,
        .tokens_per_s = s > 0 ? (double)g.new_tokens / s : 0,
    };
}

/* Tells how far things are, not more than 50 times a second: called at every token. */
static void report(run *r) {
    const double now = lpo_now_s();
    const bool end = r->counts.lines + r->counts.bad == r->total;
    if (!r->progress || r->interrupted || (now - r->reported_s < .02 && !end)) return;
    r->reported_s = now;
    update_result(r);
    r->interrupted = r->progress(r->user, "answering", r->counts.lines + r->counts.bad, r->total) != 0;
}

/* ---- lines in ---- */

static void line_clear(run *r, line *l) {
    for (int k = 0; k < r->o->n_samples; k++) {
        lpo_stop_watch_clear(&l->answer[k].watch);
        free(l->answer[k].text);
    }
    memset(l->answer, 0, (size_t)r->o->n_samples * sizeof *l->answer);
    if (l->views) lpo_views_drop(r->views, l->views);
    json_decref((json_t *)(uintptr_t)l->rec.json);
    lpo_arena_reset(l->arena);
    *l = (line){.arena = l->arena, .answer = l->answer};
}

static void reject(line *l, const char *reason) {
    if (l->reason) return;
    l->reason = lpo_arena_strdup(l->arena, reason);
    if (!l->reason) l->reason = "out of memory";
}

static lpo_status read_line(run *r, lpo_error *err) {
    line *l = line_at(r, r->n);
    lpo_status s = lpo_record_reader_next(&l->rec, &l->reason, r->reader, l->arena, err);
    if (s) return s;
    r->n++;
    lpo_record_reader_tell(r->reader, &l->end_offset, &l->end_line);
    l->started = l->reason != NULL;
    if (l->reason) return LPO_OK;
    r->n_read++;
    return lpo_views_take(&l->views, r->views, l->rec.video,
                          json_string_value(json_object_get(l->rec.json, "video")), err);
}

static lpo_status read_lines(run *r, lpo_error *err) {
    while (!r->at_end && r->n < r->depth &&
           (r->n == 0 || lpo_view_store_taken_bytes(r->views) < TAKEN_BYTES)) {
        lpo_status s = LPO_OK;
        r->at_end = r->o->limit > 0 && r->n_read >= r->o->limit;
        if (!r->at_end) s = read_line(r, err);
        r->at_end |= s == LPO_EEND;
        if (s && s != LPO_EEND) return s;
    }
    return LPO_OK;
}

/* ---- answers ---- */

static int on_token(void *user, int seq, int32_t id) {
    run *r = user;
    bool over;
    answer *a = &r->ring[seq / r->o->n_samples].answer[seq % r->o->n_samples];
    report(r);
    if (r->interrupted) return 1;
    if (lpo_stop_watch_hear(&a->watch, &over, id, &r->watch_err)) return 1;
    return over ? LPO_TOKEN_LAST : LPO_TOKEN_NEXT;
}

static lpo_status ask(run *r, line *l, const lpo_ids *ids, int sample, lpo_error *why) {
    const lpo_gen_request q = {
        .ids = ids->ids,
        .n_ids = (int32_t)ids->n,
        .clip = &l->views->input[r->augment.n > 0],
        .stream = MAX_SAMPLES * (uint64_t)l->rec.line + (uint64_t)sample,
        .options = r->gen_options,
        .user = (uint64_t)(l - r->ring) * (uint64_t)r->o->n_samples + (uint64_t)sample,
        .fn = on_token,
        .fn_user = r,
    };
    lpo_status s = lpo_stop_watch_init(&l->answer[sample].watch, r->session.recipe.tokenizer, r->stops, why);
    if (!s) s = lpo_generator_add(r->gen, &q, why);
    l->n_open += !s;
    return s;
}

/* A line the model cannot take is unusable; what is under way for it is waited for. */
static lpo_status start_line(run *r, line *l, lpo_error *err) {
    lpo_error why;
    lpo_ids ids = {0};
    l->started = true;
    lpo_status s = lpo_views_wait(r->views, l->views, &why);
    if (!s)
        s = lpo_recipe_prompt(&ids, &r->session.recipe, l->rec.prompt, &l->views->clip[r->augment.n > 0],
                              &why);
    for (int k = 0; k < r->o->n_samples && !s; k++) s = ask(r, l, &ids, k, &why);
    lpo_ids_clear(&ids);
    if (s) reject(l, why.msg);
    return s == LPO_ENOMEM
               ? lpo_fail(err, s, "out of memory for the answers to line %lld", (long long)l->rec.line)
               : LPO_OK;
}

static lpo_status start_lines(run *r, lpo_error *err) {
    lpo_status s = LPO_OK;
    for (int i = 0; i < r->n && !s; i++) {
        line *l = line_at(r, i);
        /* Until the oldest is done, none is. */
        if (i == 0 && !l->started) lpo_views_want(r->views, l->views);
        /* With nothing else to do, waiting for the next video is all there is. */
        if (!l->started && (!lpo_generator_pending(r->gen) || lpo_views_ready(r->views, l->views)))
            s = start_line(r, l, err);
    }
    return s;
}

static lpo_status take_answer(run *r, lpo_error *err) {
    lpo_gen_seq seq;
    uint64_t user;
    lpo_status s = lpo_generator_next(&seq, &user, r->gen, err);
    if (s == LPO_ECANCELED && r->interrupted) return LPO_OK;
    if (s == LPO_ECANCELED && r->watch_err.code) {
        if (err) *err = r->watch_err;
        return r->watch_err.code;
    }
    if (s) return s;
    line *l = &r->ring[user / (uint64_t)r->o->n_samples];
    answer *a = &l->answer[user % (uint64_t)r->o->n_samples];
    size_t n;
    s = lpo_tokenizer_decode(&a->text, &n, r->session.recipe.tokenizer, seq.ids, (size_t)seq.n_ids, 1, err);
    if (!s) a->text[lpo_stops_find(&r->stops, a->text)] = 0;
    a->cut = !seq.finished && !seq.stopped;
    l->n_tokens += seq.n_ids;
    l->n_open--;
    lpo_gen_seq_clear(&seq);
    return s;
}

/* ---- lines out ---- */

static json_t *reason_of(const answer *a) {
    return json_string(a->cut ? "length" : "stop");
}

static lpo_status put_answers(run *r, const line *l, lpo_error *err) {
    json_t *o = json_copy((json_t *)(uintptr_t)l->rec.json);
    const int n = r->o->n_samples;
    int bad = json_object_set_new(o, "video", lpo_record_video_from(&l->rec, r->same_folder));
    json_t *texts = json_array(), *reasons = json_array();
    for (int k = 0; k < n; k++) {
        const answer *a = &l->answer[k];
        bad |= json_array_append_new(texts, json_string(a->text));
        bad |= json_array_append_new(reasons, reason_of(a));
        r->counts.empty += lpo_text_blank(a->text);
        r->counts.cut += a->cut;
    }
    if (r->augment.n) {
        char spec[256];
        lpo_augment_format(spec, sizeof spec, &l->views->augment);
        bad |= json_object_set_new(o, "augment", json_string(spec));
    }
    bad |= json_object_set(o, n > 1 ? "completions" : "completion", n > 1 ? texts : json_array_get(texts, 0));
    bad |= json_object_set(o, "finish_reason", n > 1 ? reasons : json_array_get(reasons, 0));
    json_decref(texts);
    json_decref(reasons);
    if (bad) {
        json_decref(o);
        return lpo_fail(err, LPO_ENOMEM, "out of memory for the answers to line %lld",
                        (long long)l->rec.line);
    }
    r->counts.lines++;
    r->counts.answers += n;
    r->counts.tokens += l->n_tokens;
    return lpo_partial_put(r->partial, ANSWERS, o, err);
}

static lpo_status commit(run *r, lpo_error *err) {
    return lpo_partial_commit(r->partial, counts_to_json(&r->counts), r->written_offset, r->written_line,
                              r->complete, err);
}

static lpo_status finish_oldest(run *r, lpo_error *err) {
    line *l = line_at(r, 0);
    lpo_status s;
    r->counts.parsed += l->rec.json != NULL;
    if (l->reason) {
        r->counts.bad++;
        s = lpo_partial_reject(r->partial, QUARANTINE, r->o->data, &l->rec, l->reason, err);
    } else
        s = put_answers(r, l, err);
    if (s) return s;
    r->written_offset = l->end_offset;
    r->written_line = l->end_line;
    if (l->reason)
        s = lpo_record_check_share(&r->census, r->o->data, r->counts.bad, r->o->max_bad, l->rec.line,
                                   l->reason, err);
    line_clear(r, l);
    r->first = (r->first + 1) % r->depth;
    r->n--;
    return s || !lpo_partial_due(r->partial) ? s : commit(r, err);
}

static lpo_status drive(run *r, lpo_error *err) {
    const int64_t all = r->census.n_good + r->census.n_bad;
    r->total = r->o->limit > 0 && r->o->limit < all ? r->o->limit : all;
    lpo_status s = LPO_OK;
    while (!s) {
        s = read_lines(r, err);
        r->complete = !s && !r->n;
        if (s || r->complete) break;
        if ((s = start_lines(r, err))) break;
        const line *oldest = line_at(r, 0);
        s = oldest->started && !oldest->n_open ? finish_oldest(r, err) : take_answer(r, err);
        if (!s) report(r);
        if (!s && r->interrupted)
            s = lpo_fail(err, LPO_ECANCELED, "interrupted; --resume goes on after line %lld",
                         (long long)r->written_line);
    }
    /* What is written counts, however the run ends. */
    lpo_error ignored;
    const lpo_status committed = commit(r, s ? &ignored : err);
    return s ? s : committed;
}

/* ---- the run ---- */

static lpo_status check_options(const lpo_generate_options *o, lpo_error *err) {
    if (!o->model) return lpo_fail(err, LPO_EINVAL, "no model folder given (--model DIR)");
    if (!o->data) return lpo_fail(err, LPO_EINVAL, "no data file given (--data F.jsonl)");
    if (!o->out) return lpo_fail(err, LPO_EINVAL, "no output file given (--out F.jsonl)");
    if (o->n_samples < 1 || o->n_samples > MAX_SAMPLES)
        return lpo_fail(err, LPO_EINVAL, "--n %d: give 1..%d", o->n_samples, MAX_SAMPLES);
    if (o->n_samples > 1 && o->temperature == 0)
        return lpo_fail(err, LPO_EINVAL, "--n %d at --temperature 0: all would be alike", o->n_samples);
    if (o->batch_size < 1 || o->batch_size > 65536)
        return lpo_fail(err, LPO_EINVAL, "--batch-size %d: give 1..65536", o->batch_size);
    if (o->max_tokens < 1)
        return lpo_fail(err, LPO_EINVAL, "--max-tokens %d: give at least 1", o->max_tokens);
    if (!(o->temperature >= 0) || !(o->top_p > 0 && o->top_p <= 1) || o->top_k < 0 || !(o->max_bad >= 0))
        return lpo_fail(err, LPO_EINVAL,
                        "--temperature %g, --top-p %g, --top-k %d, --max-bad %g: expected >= 0, in (0, 1], "
                        ">= 0, >= 0",
                        o->temperature, o->top_p, o->top_k, o->max_bad);
    return LPO_OK;
}

/* All that the bytes of the output follow from; what only changes the pace is left out. */
static lpo_status identify(run *r, lpo_error *err) {
    const lpo_generate_options *o = r->o;
    lpo_status s = lpo_partial_identity(&r->identity, o->model, o->adapter, o->place, o->chat_template,
                                        o->dtype, &o->clips, &r->census, err);
    if (s) return s;
    char spec[512];
    lpo_view_choice_format(spec, &r->augment);
    json_t *stop = json_array();
    for (int i = 0; i < o->n_stop; i++)
        if (!o->stop[i][0] || json_array_append_new(stop, json_string(o->stop[i]))) {
            json_decref(stop);
            return lpo_fail(err, LPO_EINVAL, "--stop: text %d of %d is empty, or not UTF-8", i + 1,
                            o->n_stop);
        }
    json_t *more = json_pack("{so ss si si sf sf si sI sI}", "stop", stop, "augment", spec, "n", o->n_samples,
                             "max_tokens", o->max_tokens, "temperature", o->temperature, "top_p", o->top_p,
                             "top_k", o->top_k, "seed", (json_int_t)o->seed, "limit", (json_int_t)o->limit);
    if (!more || json_object_update(r->identity, more))
        s = lpo_fail(err, LPO_ENOMEM, "%s: out of memory", o->out);
    json_decref(more);
    return s;
}

static lpo_status open_output(run *r, lpo_error *err) {
    lpo_partial_state state;
    r->output = (lpo_partial_options){.out = r->o->out,
                                      .command = "leanpo generate",
                                      .files = FILE_OF,
                                      .n_files = FILES,
                                      .identity = r->identity,
                                      .data = r->o->data,
                                      .data_bytes = r->census.size_bytes,
                                      .resume = r->o->resume,
                                      .digits = 15 /* what a line said in as many is said again */};
    lpo_status s = lpo_partial_open(&r->partial, &state, &r->output, err);
    if (s) return s;
    if (state.counts) s = counts_from_json(&r->counts, state.counts, r->o->out, err);
    json_decref(state.counts);
    r->complete = state.complete;
    if (s || r->complete) return s;
    r->lines_before = r->counts.lines;
    r->written_offset = state.offset;
    r->written_line = state.line;
    r->n_read = r->counts.parsed;
    s = lpo_record_check_share(&r->census, r->o->data, r->counts.bad, r->o->max_bad, r->written_line,
                               "(see quarantine.jsonl)", err);
    if (!s) s = lpo_record_reader_seek(r->reader, state.offset, state.line, err);
    return s ? s : commit(r, err);
}

/* Everything that can be refused without a model. */
static lpo_status open_inputs(run *r, lpo_error *err) {
    const lpo_generate_options *o = r->o;
    lpo_status s = lpo_view_choice_parse(&r->augment, o->augment ? o->augment : "none", err);
    if (!s) s = lpo_record_count(&r->census, o->data, LPO_NEED_QUESTION, o->max_bad, err);
    if (!s) s = lpo_record_reader_open(&r->reader, o->data, LPO_NEED_QUESTION, err);
    r->same_folder = lpo_path_same_dir(o->data, o->out);
    if (!s) s = identify(r, err);
    return s ? s : open_output(r, err);
}

static lpo_status open_model(run *r, lpo_error *err) {
    const lpo_generate_options *o = r->o;
    const lpo_generator_options go = {.max_seqs = o->batch_size};
    lpo_status s = lpo_session_open(&r->session, o->model, o->adapter, o->place, o->dtype, o->chat_template,
                                    &o->clips, o->n_threads, err);
    if (!s) s = lpo_generator_create(&r->gen, r->session.model, &go, err);
    if (!s)
        s = lpo_view_store_create(&r->views, &r->session.recipe.prep, &r->augment, o->seed,
                                  r->session.n_threads, IDLE_BYTES, TAKEN_BYTES, err);
    if (s) return s;
    r->stops = (lpo_stops){o->stop, o->n_stop};
    r->gen_options = lpo_gen_options_default();
    r->gen_options.max_tokens = o->max_tokens;
    r->gen_options.temperature = o->temperature;
    r->gen_options.top_p = o->top_p;
    r->gen_options.top_k = o->top_k;
    r->gen_options.seed = o->seed;
    r->gen_options.n_valid = lpo_tokenizer_size(r->session.recipe.tokenizer);
    /* Enough lines that the generator is full while the next are made ready. */
    r->depth = AHEAD + 2 * ((o->batch_size + o->n_samples - 1) / o->n_samples);
    r->ring = calloc((size_t)r->depth, sizeof *r->ring);
    for (int i = 0; r->ring && i < r->depth; i++) {
        r->ring[i].arena = lpo_arena_create(1 << 10);
        r->ring[i].answer = calloc((size_t)o->n_samples, sizeof *r->ring[i].answer);
        if (!r->ring[i].arena || !r->ring[i].answer) s = LPO_ENOMEM;
    }
    return s || !r->ring ? lpo_fail(err, LPO_ENOMEM, "out of memory for %d lines", r->depth) : LPO_OK;
}

static lpo_status finish(run *r, lpo_error *err) {
    update_result(r);
    if (lpo_partial_gone(r->partial)) return LPO_OK;
    const lpo_generate_result *x = r->res;
    json_t *summary = json_pack(
        "{so s{sf sf sf sI sI sI sI} sO}", "counts", counts_to_json(&r->counts), "timing", "seconds",
        x->seconds, "lines_per_s", x->lines_per_s, "tokens_per_s", x->tokens_per_s, "videos_decoded",
        (json_int_t)x->n_decoded, "clips_encoded", (json_int_t)x->n_encoded, "prompt_tokens",
        (json_int_t)x->prompt_tokens, "shared_tokens", (json_int_t)x->shared_tokens, "options", r->identity);
    lpo_status s = lpo_partial_finish(r->partial, summary, err);
    json_decref(summary);
    return s;
}

static void close_all(run *r) {
    lpo_generator_destroy(r->gen); /* before the clips it borrows */
    for (int i = 0; r->ring && i < r->depth; i++) {
        line *l = &r->ring[i];
        if (l->arena && l->answer) line_clear(r, l);
        lpo_arena_destroy(l->arena);
        free(l->answer);
    }
    free(r->ring);
    lpo_view_store_destroy(r->views);
    lpo_partial_close(r->partial);
    json_decref(r->identity);
    lpo_record_reader_close(r->reader);
    lpo_session_close(&r->session);
}

lpo_status lpo_generate_data(lpo_generate_result *out, const lpo_generate_options *o,
                             lpo_progress_fn *progress, void *user, lpo_error *err) {
    memset(out, 0, sizeof *out);
    run r = {.o = o, .res = out, .progress = progress, .user = user};
    lpo_status s = check_options(o, err);
    if (!s) s = open_inputs(&r, err);
    const bool written = r.complete;
    if (!s && !written) s = open_model(&r, err);
    r.start_s = lpo_now_s();
    if (!s && !written) s = drive(&r, err);
    if (!s) s = finish(&r, err);
    close_all(&r);
    return s;
}
