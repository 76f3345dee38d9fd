/* SPDX-License-Identifier: Apache-2.0 */
/* session.c -- see session.h. */
#include "train/session.h"

#include "leanpo/device.h"
#include "media/cut.h"
#include "train/prep_device.h"
#include "train/prep_gpu.h"
#include "train/reduce.h"

#include <stdlib.h>
#include <string.h>

/* The card of a stage, opened unless a stage before it has it. */
static lpo_status open_card(lpo_session *s, const lpo_place *p, lpo_stage stage, lpo_error *err) {
    const char *device = p->device[stage];
    if (!lpo_place_is(device, "csim") && !lpo_place_is(device, "fpga")) return LPO_OK;
    for (int i = 0; i < (int)stage && !s->card[stage]; i++)
        if (!strcmp(p->device[i], device)) s->card[stage] = s->card[i];
    return s->card[stage] ? LPO_OK : lpo_fpga_open(&s->card[stage], device, NULL, err);
}

static bool is_gpu(const char *device) {
    return lpo_place_is(device, "opencl") || lpo_place_is(device, "cuda");
}

/* The stages that are not the model's. */
static lpo_status open_host_stages(lpo_session *s, const lpo_place *p, lpo_error *err) {
    lpo_status st = open_card(s, p, LPO_STAGE_preprocess, err);
    if (!st) st = open_card(s, p, LPO_STAGE_reduce, err);
    const char *prep = p->device[LPO_STAGE_preprocess], *reduce = p->device[LPO_STAGE_reduce];
    if (!st && s->card[LPO_STAGE_preprocess])
        st = lpo_prep_device_create(&s->prep_engine, s->card[LPO_STAGE_preprocess], err);
    else if (!st && is_gpu(prep))
        st = lpo_prep_gpu_create(&s->prep_engine, prep, err);
    if (!st && s->card[LPO_STAGE_reduce])
        st = lpo_reducer_on_card(&s->reducer, s->card[LPO_STAGE_reduce], err);
    else if (!st && is_gpu(reduce))
        st = lpo_reducer_on_gpu(&s->reducer, reduce, err);
    if (!st) s->recipe.prep.engine = s->prep_engine;
    return st;
}

lpo_status lpo_session_open(lpo_session *out, const char *model_dir, const char *adapter, const char *place,
                            const char *dtype, const char *chat_template, const lpo_clip_options *clips,
                            int n_threads, lpo_error *err) {
    memset(out, 0, sizeof *out);
    if (!model_dir || !model_dir[0]) return lpo_fail(err, LPO_EINVAL, "no model folder given (--model DIR)");
    out->n_threads = lpo_device_threads(n_threads);
    lpo_place p;
    lpo_status s = lpo_place_parse(&p, place, err);
    const char *backbone = p.device[LPO_STAGE_backbone];
    lpo_model_options mo = lpo_model_options_default();
    mo.place = strcmp(backbone, "auto") ? backbone : "cpu";
    mo.adapter = adapter && adapter[0] ? adapter : NULL;
    if (dtype && dtype[0]) mo.dtype = dtype;
    if (!s) s = lpo_model_load(&out->model, model_dir, &mo, err);
    if (!s) lpo_model_get_info(&out->info, out->model);
    if (!s) s = lpo_recipe_open(&out->recipe, out->info.dir, chat_template, clips, err);
    if (!s) s = open_host_stages(out, &p, err);
    if (s) lpo_session_close(out);
    return s;
}

void lpo_session_close(lpo_session *s) {
    if (s->recipe.tokenizer) lpo_recipe_close(&s->recipe);
    lpo_model_destroy(s->model);
    lpo_prep_engine_close(s->prep_engine);
    lpo_reducer_close(s->reducer);
    for (int i = 0; i < LPO_N_STAGES; i++) { /* a card once, whoever shares it */
        for (int k = i + 1; k < LPO_N_STAGES; k++)
            if (s->card[k] == s->card[i]) s->card[k] = NULL;
        lpo_fpga_close(s->card[i]);
    }
    memset(s, 0, sizeof *s);
}

void lpo_session_move(lpo_session *s, lpo_model *m) {
    lpo_model_destroy(s->model);
    s->model = m;
    lpo_model_get_info(&s->info, m);
}

/* The asks as a model batch: clips once each, prompts as ids. */
typedef struct ask_batch {
    lpo_clip_input *clips;
    const lpo_clip **seen;
    lpo_cut **cuts;
    lpo_seq_input *seqs;
    lpo_ids *ids;
    uint64_t *streams;
    int n, n_clips;
} ask_batch;

static void ask_batch_clear(ask_batch *b) {
    for (int i = 0; b->ids && i < b->n; i++) lpo_ids_clear(&b->ids[i]);
    for (int i = 0; b->cuts && i < b->n_clips; i++) free(b->cuts[i]);
    free(b->clips);
    free(b->seen);
    free(b->cuts);
    free(b->seqs);
    free(b->ids);
    free(b->streams);
}

static lpo_status add_clip(ask_batch *b, int32_t *index, const lpo_clip *clip, const lpo_prep_options *p,
                           lpo_error *err) {
    *index = -1;
    if (!clip) return LPO_OK;
    for (int i = 0; i < b->n_clips; i++)
        if (b->seen[i] == clip) {
            *index = i;
            return LPO_OK;
        }
    lpo_cut *cut = malloc(lpo_cut_bytes(clip, p));
    if (!cut) return lpo_fail(err, LPO_ENOMEM, "out of memory for a clip's patches");
    lpo_cut_fill(cut, clip, p);
    *index = b->n_clips;
    b->seen[b->n_clips] = clip;
    b->cuts[b->n_clips] = cut;
    b->clips[b->n_clips++] = (lpo_clip_input){cut->patches, clip->grid_t,          clip->grid_h,
                                              clip->grid_w, clip->second_per_grid, cut->levels[0]};
    return LPO_OK;
}

static lpo_status ask_batch_build(ask_batch *b, const lpo_session *s, const lpo_ask *asks, int n,
                                  lpo_error *err) {
    size_t z = (size_t)n;
    *b = (ask_batch){.n = n};
    b->clips = calloc(z, sizeof *b->clips);
    b->seen = calloc(z, sizeof *b->seen);
    b->cuts = calloc(z, sizeof *b->cuts);
    b->seqs = calloc(z, sizeof *b->seqs);
    b->ids = calloc(z, sizeof *b->ids);
    b->streams = calloc(z, sizeof *b->streams);
    if (!b->clips || !b->seen || !b->cuts || !b->seqs || !b->ids || !b->streams)
        return lpo_fail(err, LPO_ENOMEM, "out of memory for %d prompts", n);
    for (int i = 0; i < n; i++) {
        int32_t clip;
        lpo_status st = add_clip(b, &clip, asks[i].clip, &s->recipe.prep, err);
        if (!st) st = lpo_recipe_prompt(&b->ids[i], &s->recipe, asks[i].question, asks[i].clip, err);
        if (st) return st;
        b->seqs[i] = (lpo_seq_input){b->ids[i].ids, (int32_t)b->ids[i].n, (int32_t)b->ids[i].n, clip};
        b->streams[i] = asks[i].stream;
    }
    return LPO_OK;
}

/* Who listens to the tokens: the caller, and the stop strings of each ask. */
typedef struct listener {
    lpo_stop_watch *watch; /* [n] */
    int n;
    lpo_token_fn *fn;
    void *user;
    lpo_error err;
} listener;

static int on_token(void *user, int seq, int32_t id) {
    listener *l = user;
    const int said = l->fn ? l->fn(l->user, seq, id) : LPO_TOKEN_NEXT;
    bool over;
    if (lpo_stop_watch_hear(&l->watch[seq], &over, id, &l->err)) return 1;
    return said ? said : over ? LPO_TOKEN_LAST : LPO_TOKEN_NEXT;
}

static lpo_status listener_open(listener *l, const lpo_session *s, const lpo_ask *asks, int n,
                                lpo_error *err) {
    l->watch = calloc((size_t)n, sizeof *l->watch);
    if (!l->watch) return lpo_fail(err, LPO_ENOMEM, "out of memory for %d answers", n);
    l->n = n;
    lpo_status st = LPO_OK;
    for (int i = 0; i < n && !st; i++)
        st = lpo_stop_watch_init(&l->watch[i], s->recipe.tokenizer, asks[i].stops, err);
    return st;
}

static void listener_close(listener *l) {
    for (int i = 0; i < l->n; i++) lpo_stop_watch_clear(&l->watch[i]);
    free(l->watch);
}

lpo_status lpo_session_answer(char **answers, lpo_gen_seq *seqs, lpo_session *s, const lpo_ask *asks, int n,
                              const lpo_gen_options *o, lpo_token_fn *fn, void *user, lpo_error *err) {
    ask_batch b;
    listener l = {.fn = fn, .user = user};
    lpo_gen_seq *own = NULL;
    for (int i = 0; i < n; i++) answers[i] = NULL;
    lpo_gen_options opt = *o;
    if (!opt.n_valid) opt.n_valid = lpo_tokenizer_size(s->recipe.tokenizer);
    lpo_status st = ask_batch_build(&b, s, asks, n, err);
    if (st) goto out;
    own = calloc((size_t)n, sizeof *own);
    if (!own) {
        st = lpo_fail(err, LPO_ENOMEM, "out of memory for %d answers", n);
        goto out;
    }
    lpo_model_batch mb = {b.clips, b.seqs, b.n_clips, n};
    st = listener_open(&l, s, asks, n, err);
    if (!st) st = lpo_generate(own, s->model, &mb, b.streams, &opt, on_token, &l, err);
    if (st && l.err.code && err) *err = l.err;
    for (int i = 0; i < n && !st; i++) {
        size_t len;
        st = lpo_tokenizer_decode(&answers[i], &len, s->recipe.tokenizer, own[i].ids, (size_t)own[i].n_ids, 1,
                                  err);
        if (!st) answers[i][lpo_stops_find(&asks[i].stops, answers[i])] = 0;
    }
    if (seqs && !st) {
        memcpy(seqs, own, (size_t)n * sizeof *own);
        memset(own, 0, (size_t)n * sizeof *own);
    }
out:
    for (int i = 0; i < n; i++) {
        if (st) {
            free(answers[i]);
            answers[i] = NULL;
        }
        if (own) lpo_gen_seq_clear(&own[i]);
    }
    free(own);
    listener_close(&l);
    ask_batch_clear(&b);
    return st;
}
