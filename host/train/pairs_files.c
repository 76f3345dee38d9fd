/* SPDX-License-Identifier: Apache-2.0 */
/* pairs_files.c -- what a run leaves: pairs, every line's candidates, lines that are no good (partial.h). */
#include "train/pairs_result.h"

#include <math.h>
#include <string.h>

enum { PAIRS, CANDIDATES, QUARANTINE, FILES };
static const lpo_partial_file FILE_OF[FILES] = {
    {"pairs.jsonl", NULL, false},
    {"candidates.jsonl", ".candidates.jsonl", false},
    {"quarantine.jsonl", ".quarantine.jsonl", true},
};

static lpo_status no_memory(const pairs_run *r, lpo_error *err) {
    return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", r->o->out);
}

void pairs_files_close(pairs_run *r) {
    lpo_partial_close(r->partial);
    json_decref(r->options);
    r->partial = NULL;
    r->options = NULL;
}

lpo_status pairs_files_commit(pairs_run *r, lpo_error *err) {
    return lpo_partial_commit(r->partial, pairs_counts_to_json(&r->counts), r->written_offset,
                              r->written_line, r->complete, err);
}

lpo_status pairs_files_open(pairs_run *r, bool *finished, lpo_error *err) {
    lpo_partial_state state;
    lpo_status s = pairs_options_to_json(&r->options, r, err);
    if (s) return s;
    r->output = (lpo_partial_options){.out = r->o->out,
                                      .command = "leanpo pairs",
                                      .files = FILE_OF,
                                      .n_files = FILES,
                                      .identity = r->options,
                                      .data = r->o->data,
                                      .data_bytes = r->census.size_bytes,
                                      .resume = r->o->resume,
                                      .digits = 9};
    if ((s = lpo_partial_open(&r->partial, &state, &r->output, err))) return s;
    *finished = state.complete;
    const char *where = r->o->out;
    if (state.counts) s = pairs_counts_from_json(&r->counts, state.counts, where, err);
    json_decref(state.counts);
    if (s || *finished) return s;
    r->written_offset = state.offset;
    r->written_line = state.line;
    r->n_read = r->counts.n_parsed;
    s = lpo_record_reader_seek(r->reader, state.offset, state.line, err);
    return s ? s : pairs_files_commit(r, err);
}

static json_t *real_or_null(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

static void set_scores(json_t *o, const pairs_item *it) {
    json_object_set_new(o, "reward_chosen", json_real(it->reward[PAIRS_WINNER]));
    json_object_set_new(o, "reward_rejected", json_real(it->reward[PAIRS_LOSER]));
    json_object_set_new(o, "trust_chosen", real_or_null(it->trust[PAIRS_WINNER]));
    json_object_set_new(o, "trust_rejected", real_or_null(it->trust[PAIRS_LOSER]));
}

static lpo_status put_pair(pairs_run *r, const pairs_item *it, lpo_error *err) {
    json_t *o = json_copy((json_t *)(uintptr_t)it->rec.json);
    char spec[256] = "none";
    if (!o) return no_memory(r, err);
    if (r->augmented) lpo_augment_format(spec, sizeof spec, &it->views->augment);
    json_object_del(o, "question");
    if (!json_object_get(o, "id")) json_object_set_new(o, "id", json_string(it->rec.id));
    json_object_set_new(o, "video", lpo_record_video_from(&it->rec, r->same_folder));
    json_object_set_new(o, "prompt", json_string(it->rec.prompt));
    json_object_set_new(o, "chosen", json_string(it->text[PAIRS_WINNER]));
    json_object_set_new(o, "rejected", json_string(it->text[PAIRS_LOSER]));
    set_scores(o, it);
    json_object_set_new(o, "augment", json_string(spec));
    if (r->augmented) json_object_set_new(o, "grounding", json_real(it->grounding));
    r->counts.n_pairs++;
    for (int k = PAIRS_WINNER; k <= PAIRS_LOSER; k++) {
        r->counts.trust[k] += it->trust[k];
        r->counts.reward[k] += it->reward[k];
    }
    r->counts.grounding += it->grounding;
    return lpo_partial_put(r->partial, PAIRS, o, err);
}

static lpo_status put_candidates(pairs_run *r, const pairs_item *it, lpo_error *err) {
    json_t *o = json_pack("{sI ss ss}", "line", (json_int_t)it->rec.line, "id", it->rec.id, "fate",
                          PAIRS_FATE_NAME[it->fate]);
    if (!o) return no_memory(r, err);
    static const char *const key[PAIRS_ROLES] = {"draft", "chosen", "rejected"};
    for (int k = 0; k < PAIRS_ROLES; k++)
        if (it->text[k]) json_object_set_new(o, key[k], json_string(it->text[k]));
    if (it->fate != PAIRS_EMPTY) set_scores(o, it);
    return lpo_partial_put(r->partial, CANDIDATES, o, err);
}

static lpo_status put_item(pairs_run *r, const pairs_item *it, lpo_error *err) {
    r->counts.n_lines++;
    r->counts.n_parsed += it->rec.json != NULL;
    if (it->fate == PAIRS_BAD) {
        r->counts.n_bad++;
        return lpo_partial_reject(r->partial, QUARANTINE, r->o->data, &it->rec, it->reason, err);
    }
    r->counts.n_questions++;
    if (it->fate != PAIRS_KEPT) r->counts.n_dropped[it->fate]++;
    lpo_status s = put_candidates(r, it, err);
    return s || it->fate != PAIRS_KEPT ? s : put_pair(r, it, err);
}

lpo_status pairs_files_put(pairs_run *r, const pairs_block *b, lpo_error *err) {
    lpo_status s = LPO_OK;
    for (int i = 0; i < b->n && !s; i++) s = put_item(r, &b->item[i], err);
    if (s) return s;
    r->written_offset = b->end_offset;
    r->written_line = b->end_line;
    pairs_judge_counts(r);
    return LPO_OK;
}

lpo_status pairs_files_commit_due(pairs_run *r, lpo_error *err) {
    return lpo_partial_due(r->partial) ? pairs_files_commit(r, err) : LPO_OK;
}

static lpo_status nothing_kept(pairs_run *r, lpo_error *err) {
    static const char *const advice[] = {
        [PAIRS_GAP] =
            "see whether winners are any better than losers, then lower --min-gap or change --trust",
        [PAIRS_IDENTICAL] = "raise --temperature-rejected, or change --augment",
        [PAIRS_EMPTY] = "see whether the model answers at all (leanpo generate)",
        [PAIRS_JUDGE] = "see why the judge gives no score"};
    const int64_t *d = r->counts.n_dropped;
    int most = PAIRS_GAP;
    for (int k = PAIRS_GAP; k <= PAIRS_JUDGE; k++)
        if (d[k] > d[most]) most = k;
    lpo_status s = lpo_partial_fail(r->partial, err);
    if (s) return s;
    return lpo_fail(
        err, LPO_EFORMAT,
        "%s: no pair is left of %lld questions: %lld with a trust gap of at most %g, %lld with winner and "
        "loser alike, %lld with an empty answer, %lld without the judge's score; %s (%s holds the answers)",
        r->o->data, (long long)r->counts.n_questions, (long long)d[PAIRS_GAP], r->o->min_gap,
        (long long)d[PAIRS_IDENTICAL], (long long)d[PAIRS_EMPTY], (long long)d[PAIRS_JUDGE], advice[most],
        lpo_partial_path(r->partial, CANDIDATES));
}

lpo_status pairs_files_finish(lpo_pairs_result *out, pairs_run *r, lpo_error *err) {
    if (!r->counts.n_pairs) return nothing_kept(r, err);
    lpo_status s = pairs_result_fill(out, r, lpo_partial_path(r->partial, CANDIDATES), err);
    if (s || lpo_partial_gone(r->partial)) return s;
    json_t *summary = pairs_summary(out, r);
    s = lpo_partial_finish(r->partial, summary, err);
    json_decref(summary);
    return s;
}
