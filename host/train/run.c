/* SPDX-License-Identifier: Apache-2.0 */
/* run.c -- opening, saving and closing a training run: see run.h. */
#include "train/run.h"

#include "base/file.h"
#include "data/checked.h"
#include "device/driver.h"
#include "model/lora.h"
#include "train/trial.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#include <xxhash.h>

#ifndef LEANPO_GIT_REV
#define LEANPO_GIT_REV "v" LEANPO_VERSION
#endif

enum { MAX_CONFIG = 1 << 20 };

lpo_status lpo_run_path(char *out, const lpo_run *r, const char *name, lpo_error *err) {
    int n = snprintf(out, LPO_PATH_BYTES, "%s/%s", r->out, name);
    return n > 0 && n < LPO_PATH_BYTES ? LPO_OK
                                       : lpo_fail(err, LPO_ELIMIT, "%s/%s: path too long", r->out, name);
}

static const char *str(const lpo_run *r, lpo_train_option_id id) {
    return lpo_train_str(r->o, id);
}
static int64_t num(const lpo_run *r, lpo_train_option_id id) {
    return lpo_train_int(r->o, id);
}
static double real(const lpo_run *r, lpo_train_option_id id) {
    return lpo_train_real(r->o, id);
}

/* ---- options and the run folder ---- */

static lpo_status hash_data(uint64_t *hash, const char *path, lpo_error *err) {
    lpo_mapping m;
    lpo_status s = lpo_file_map(&m, path, err);
    if (s) return s;
    *hash = XXH64(m.data, m.size_bytes, 0);
    lpo_file_unmap(&m);
    return LPO_OK;
}

static lpo_status same_data(const json_t *run, const char *key, uint64_t hash, const char *path,
                            lpo_error *err) {
    char hex[17];
    const char *was = json_string_value(json_object_get(run, key));
    snprintf(hex, sizeof hex, "%016" PRIx64, hash);
    if (!was || !strcmp(was, hex)) return LPO_OK;
    return lpo_fail(err, LPO_EINVAL,
                    "%s: the file changed since the run was started; restore it, or choose another --out",
                    path);
}

/* Compare with the run that is already in the folder; *saved is its config.json or NULL. */
static lpo_status read_config(json_t **saved, lpo_run *r, lpo_error *err) {
    char path[LPO_PATH_BYTES];
    *saved = NULL;
    r->out = str(r, LPO_TRAIN_out);
    if (!*r->out) return lpo_fail(err, LPO_EINVAL, "no run folder given (--out RUN)");
    lpo_status s = lpo_run_path(path, r, "checkpoints", err);
    const bool used = !s && lpo_path_exists(path);
    if (!s) s = lpo_run_path(path, r, "config.json", err);
    if (!s && used && !lpo_path_exists(path))
        s = lpo_fail(err, LPO_EINVAL, "%s: has checkpoints but no config.json; choose another --out", r->out);
    if (s || !lpo_path_exists(path)) return s;
    if (!lpo_train_bool(r->o, LPO_TRAIN_resume))
        return lpo_fail(err, LPO_EINVAL,
                        "%s: holds a run already; add --resume to go on with it, or choose another --out",
                        r->out);
    s = lpo_json_load(saved, path, MAX_CONFIG, err);
    if (!s) s = lpo_train_options_inherit(r->o, *saved, path, err);
    if (!s) s = lpo_train_options_same_run(r->o, *saved, path, err);
    r->out = str(r, LPO_TRAIN_out);
    return s;
}

static lpo_status check_data(lpo_run *r, const json_t *saved, lpo_error *err) {
    const json_t *run = json_object_get(saved, "run");
    const char *data = str(r, LPO_TRAIN_data), *eval = str(r, LPO_TRAIN_eval_data);
    if (!*str(r, LPO_TRAIN_model)) return lpo_fail(err, LPO_EINVAL, "no model folder given (--model DIR)");
    if (!*data) return lpo_fail(err, LPO_EINVAL, "no data file given (--data F.jsonl)");
    lpo_status s = hash_data(&r->data_hash, data, err);
    if (!s) s = same_data(run, "data_xxh64", r->data_hash, data, err);
    if (!s && *eval) s = hash_data(&r->eval_hash, eval, err);
    if (!s && *eval) s = same_data(run, "eval_data_xxh64", r->eval_hash, eval, err);
    return s;
}

/* The folder, held by this process alone until it ends, however it ends. */
static lpo_status lock_folder(lpo_run *r, lpo_error *err) {
    lpo_status s = lpo_dir_create(r->out, err);
    if (s) return s;
    r->lock_fd = open(r->out, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (r->lock_fd < 0) return lpo_fail(err, LPO_EIO, "%s: cannot open it: %s", r->out, strerror(errno));
    if (flock(r->lock_fd, LOCK_EX | LOCK_NB))
        return lpo_fail(err, LPO_EINVAL, "%s: another training process is at work there", r->out);
    return LPO_OK;
}

static lpo_status write_config(const lpo_run *r, lpo_error *err) {
    char path[LPO_PATH_BYTES], hash[17], eval_hash[17];
    json_t *config = lpo_train_options_json(r->o);
    snprintf(hash, sizeof hash, "%016" PRIx64, r->data_hash);
    snprintf(eval_hash, sizeof eval_hash, "%016" PRIx64, r->eval_hash);
    json_t *run = json_pack("{s:s,s:s,s:s,s:s,s:I,s:I,s:I,s:o}", "version", LEANPO_VERSION, "git_revision",
                            LEANPO_GIT_REV, "data_xxh64", hash, "eval_data_xxh64", eval_hash, "records",
                            (json_int_t)lpo_dataset_count(r->data), "total_steps", (json_int_t)r->total_steps,
                            "trainable_parameters", (json_int_t)lpo_optimizer_n_params(r->optimizer),
                            "placement", lpo_choice_to_json(&r->choice, &r->place));
    lpo_status s = lpo_run_path(path, r, "config.json", err);
    if (!s && (!config || !run || json_object_set(config, "run", run)))
        s = lpo_fail(err, LPO_ENOMEM, "out of memory");
    if (!s) s = lpo_json_save(config, path, err);
    json_decref(run);
    json_decref(config);
    return s;
}

/* ---- model and data ---- */

static bool holds(const char *dir, const char *name) {
    char path[2 * LPO_PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return lpo_path_exists(path);
}

/* dir: a model, or a checkpoint of adapters, which are for --model when that is a whole model. */
static void find_model(const char **dir, const char **adapter, const lpo_run *r) {
    const char *model = str(r, LPO_TRAIN_model);
    *adapter = NULL;
    if (holds(*dir, "config.json") || !holds(model, "config.json")) return;
    *adapter = *dir;
    *dir = model;
}

static lpo_status open_session(lpo_session *out, const lpo_run *r, const char *dir, const char *place,
                               lpo_error *err) {
    const char *adapter;
    const lpo_clip_options clips = lpo_train_options_clips(r->o);
    find_model(&dir, &adapter, r);
    return lpo_session_open(out, dir, adapter, place, str(r, LPO_TRAIN_dtype),
                            str(r, LPO_TRAIN_chat_template), &clips, (int)num(r, LPO_TRAIN_n_threads), err);
}

/* New adapters on a fresh model; those it came with are trained on. */
static lpo_status open_adapters(const lpo_run *r, lpo_model *m, lpo_error *err) {
    const lpo_lora_options *has = lpo_lora_of(m);
    const lpo_lora_options o = {.r = (int32_t)num(r, LPO_TRAIN_lora_r),
                                .alpha = real(r, LPO_TRAIN_lora_alpha),
                                .dropout = real(r, LPO_TRAIN_lora_dropout),
                                .rslora = lpo_train_bool(r->o, LPO_TRAIN_use_rslora),
                                .targets = str(r, LPO_TRAIN_lora_target_modules)};
    if ((o.r || has) && strcmp(str(r, LPO_TRAIN_train_groups), "llm"))
        return lpo_fail(err, LPO_EINVAL,
                        "--train-groups %s: with LoRA adapters nothing but them is trained; leave it out",
                        str(r, LPO_TRAIN_train_groups));
    if (!o.r) return LPO_OK;
    if (has && has->r != o.r)
        return lpo_fail(err, LPO_EINVAL, "--lora-r %d: the model's adapters have rank %d; leave it out", o.r,
                        has->r);
    return has ? LPO_OK : lpo_lora_attach(m, &o, r->state.seed, err);
}

static const char *model_dir(const lpo_run *r) {
    return r->resumed ? r->last : str(r, LPO_TRAIN_model);
}

lpo_status lpo_run_model(lpo_model **out, lpo_run *r, const char *device, lpo_error *err) {
    const char *dir = model_dir(r), *dtype = str(r, LPO_TRAIN_dtype);
    lpo_model_options o = lpo_model_options_default();
    find_model(&dir, &o.adapter, r);
    o.place = device;
    if (*dtype) o.dtype = dtype;
    lpo_status s = lpo_model_load(out, dir, &o, err);
    if (!s) s = open_adapters(r, *out, err);
    if (!s) return s;
    lpo_model_destroy(*out);
    *out = NULL;
    return s;
}

static bool all_pairs(const lpo_dataset *d) {
    for (int64_t i = 0; i < lpo_dataset_count(d); i++)
        if (!lpo_dataset_at(d, i)->rejected) return false;
    return true;
}

/* All that decides which records are good, but for the recipe and the videos. */
static json_t *identity_of(const lpo_run *r, const char *path, uint64_t hash, int64_t limit) {
    char hex[17];
    snprintf(hex, sizeof hex, "%016" PRIx64, hash);
    return json_pack("{ss ss ss sI sb}", "program", LEANPO_VERSION " " LEANPO_GIT_REV, "data", path, "xxh64",
                     hex, "limit", (json_int_t)limit, "pairs", r->pairs);
}

/* quarantine, checked: files of the run folder; quarantine may be NULL. */
static lpo_status open_data(lpo_dataset **out, lpo_run *r, const char *path, uint64_t hash,
                            const char *quarantine, const char *checked, int64_t limit, lpo_error *err) {
    char bad[LPO_PATH_BYTES], memory[LPO_PATH_BYTES];
    json_t *identity = identity_of(r, path, hash, limit);
    lpo_dataset_options o = lpo_dataset_options_default();
    o.need_pairs = r->pairs;
    o.max_bad = real(r, LPO_TRAIN_max_bad);
    o.limit = limit;
    lpo_status s = quarantine ? lpo_run_path(bad, r, quarantine, err) : LPO_OK;
    o.quarantine = quarantine ? bad : NULL;
    if (!s) s = lpo_run_path(memory, r, checked, err);
    if (!s) s = lpo_dataset_open(out, path, &o, err);
    const lpo_checked c = {memory, identity, r->session.info.dir, lpo_train_bool(r->o, LPO_TRAIN_resume)};
    if (!s)
        s = lpo_dataset_check(*out, &r->session.recipe, &c, r->session.n_threads, r->progress, r->user, err);
    json_decref(identity);
    if (!s && lpo_dataset_count(*out) == 0) s = lpo_fail(err, LPO_EINVAL, "%s: no usable record", path);
    return s;
}

static lpo_loader_options loader_options(const lpo_run *r, int batch) {
    lpo_loader_options o = lpo_loader_options_default();
    o.batch_size = batch;
    o.seed = (uint64_t)num(r, LPO_TRAIN_seed);
    o.n_workers = (int)num(r, LPO_TRAIN_n_workers);
    o.cache_bytes = (size_t)num(r, LPO_TRAIN_cache) << 20;
    return o;
}

/* Held-out records: eval_data, or else the head of the training data (for the displacement alone). */
static lpo_status open_heldout(lpo_run *r, lpo_error *err) {
    const char *eval = str(r, LPO_TRAIN_eval_data);
    const int64_t n_fixed = num(r, LPO_TRAIN_displacement_size);
    lpo_status s = LPO_OK;
    if (!*eval && n_fixed == 0) return LPO_OK;
    if (*eval)
        s = open_data(&r->eval_data, r, eval, r->eval_hash, "quarantine_eval.jsonl", "checked_eval.json", 0,
                      err);
    else
        s = open_data(&r->eval_data, r, str(r, LPO_TRAIN_data), r->data_hash, NULL, "checked_head.json",
                      n_fixed < lpo_dataset_count(r->data) ? n_fixed : lpo_dataset_count(r->data), err);
    if (s) return s;
    r->heldout = (lpo_heldout){.data = r->eval_data, .n_fixed = n_fixed, .pairs = all_pairs(r->eval_data)};
    r->heldout.loader = loader_options(r, (int)r->micro);
    if (!*eval) return LPO_OK;
    s = lpo_loss_create(&r->heldout.loss, r->o, err);
    if (!s) lpo_loss_place(r->heldout.loss, r->session.reducer, true);
    return s ? s : lpo_loss_bind(r->heldout.loss, r->eval_data, err);
}

static lpo_status plan_steps(lpo_run *r, lpo_error *err) {
    const int64_t n = lpo_dataset_count(r->data), max_steps = num(r, LPO_TRAIN_max_steps);
    const double steps = ceil(real(r, LPO_TRAIN_num_train_epochs) * (double)n / (double)r->batch);
    r->total_steps = max_steps > 0 ? max_steps : (int64_t)steps;
    if (r->total_steps < 1)
        return lpo_fail(err, LPO_EINVAL, "no step to do: num_train_epochs is 0 and max_steps is not given");
    r->schedule = lpo_schedule_make(str(r, LPO_TRAIN_lr_scheduler_type), real(r, LPO_TRAIN_learning_rate),
                                    real(r, LPO_TRAIN_lr_min_ratio), num(r, LPO_TRAIN_warmup_steps),
                                    real(r, LPO_TRAIN_warmup_ratio), r->total_steps);
    return LPO_OK;
}

/* ---- the reference ---- */

static lpo_status one_reference(lpo_reference *out, lpo_run *r, lpo_engine *e, lpo_dataset *d, bool both,
                                const char *name, uint64_t hash, lpo_error *err) {
    char path[LPO_PATH_BYTES], key[LPO_PATH_BYTES + 64];
    const lpo_loader_options lo = loader_options(r, (int)r->micro);
    const char *model = *str(r, LPO_TRAIN_ref_model) ? str(r, LPO_TRAIN_ref_model) : str(r, LPO_TRAIN_model);
    snprintf(key, sizeof key, "%s %016" PRIx64 " %lld", model, hash, (long long)lpo_dataset_count(d));
    lpo_status s = lpo_run_path(path, r, name, err);
    if (s) return s;
    s = lpo_reference_load(out, path, key, err);
    if (s != LPO_ENOTFOUND) return s;
    if (!e) return s;
    s = lpo_reference_compute(out, e, d, &r->session.recipe, &lo, both, r->progress, r->user, err);
    return s ? s : lpo_reference_save(out, path, key, err);
}

static lpo_status references_with(lpo_run *r, lpo_engine *e, lpo_error *err) {
    lpo_status s = LPO_OK;
    if (lpo_loss_needs_reference(r->loss))
        s = one_reference(&r->ref, r, e, r->data, r->pairs, "ref_logps.safetensors", r->data_hash, err);
    if (!s && r->heldout.loss && lpo_loss_needs_reference(r->heldout.loss))
        s = one_reference(&r->heldout.ref, r, e, r->eval_data, r->pairs, "ref_logps_eval.safetensors",
                          r->eval_hash, err);
    return s;
}

/* From the files of an earlier start; else by the model at hand when it is the reference still; else by
 * opening that one. */
static lpo_status open_references(lpo_run *r, lpo_error *err) {
    lpo_status s = references_with(r, NULL, err);
    if (s != LPO_ENOTFOUND) return s;
    lpo_reference_clear(&r->ref);
    lpo_reference_clear(&r->heldout.ref);
    const char *dir = str(r, LPO_TRAIN_ref_model);
    if (!*dir && !r->resumed) return references_with(r, &r->engine, err);
    lpo_session other = {0};
    lpo_engine e = {0};
    /* Only its backbone works; a card is not opened twice. */
    s = open_session(&other, r, *dir ? dir : str(r, LPO_TRAIN_model), r->place.device[LPO_STAGE_backbone],
                     err);
    if (!s) s = lpo_engine_open(&e, other.model, false, err);
    e.separate = !lpo_train_bool(r->o, LPO_TRAIN_shared_prefix);
    if (!s) s = references_with(r, &e, err);
    lpo_engine_close(&e);
    lpo_session_close(&other);
    return s;
}

/* ---- open, save, close ---- */

lpo_status lpo_run_optimizer(lpo_optimizer **out, lpo_run *r, lpo_model *m, lpo_error *err) {
    const lpo_adamw a = {real(r, LPO_TRAIN_adam_beta1), real(r, LPO_TRAIN_adam_beta2),
                         real(r, LPO_TRAIN_adam_epsilon), real(r, LPO_TRAIN_weight_decay),
                         real(r, LPO_TRAIN_max_grad_norm)};
    lpo_status s = lpo_model_set_trainable(m, lpo_lora_of(m) ? "lora" : str(r, LPO_TRAIN_train_groups), err);
    if (!s) s = lpo_model_alloc_grads(m, err);
    return s ? s : lpo_optimizer_create(out, m, &a, err);
}

static lpo_status open_optimizer(lpo_run *r, lpo_error *err) {
    char path[2 * LPO_PATH_BYTES];
    lpo_status s = lpo_run_optimizer(&r->optimizer, r, r->session.model, err);
    if (s || !r->resumed) return s;
    snprintf(path, sizeof path, "%s/optimizer.safetensors", r->last);
    s = lpo_optimizer_load(r->optimizer, path, err);
    return s ? s : lpo_loss_restore(r->loss, r->state.objective, r->state.n_objective, err);
}

static lpo_status open_outputs(lpo_run *r, lpo_error *err) {
    char path[LPO_PATH_BYTES];
    lpo_status s = lpo_run_path(path, r, "metrics.jsonl", err);
    if (!s) s = lpo_lines_open(&r->metrics, path, r->resumed ? r->state.metrics_bytes : 0, err);
    if (!s) s = lpo_run_path(path, r, "timing.jsonl", err);
    if (!s) s = lpo_lines_open(&r->timing, path, -1, err);
    return s ? s : lpo_events_open(&r->events, r->out, r->state.step, err);
}

static lpo_status find_checkpoint(lpo_run *r, lpo_error *err) {
    if (!lpo_train_bool(r->o, LPO_TRAIN_resume)) return LPO_OK;
    lpo_status s = lpo_checkpoint_latest(r->last, &r->state, r->out, err);
    r->resumed = !s;
    if (s == LPO_ENOTFOUND) {
        lpo_log(LPO_LOG_INFO, "%s: no checkpoint yet: starting from the beginning", r->out);
        r->last[0] = 0;
        r->state = (lpo_run_state){0};
        s = LPO_OK;
    }
    snprintf(r->origin, sizeof r->origin, "%s", r->last);
    return s;
}

/* ---- where the stages go ---- */

/* Told by the user, known from before (`known`, or the run's config.json), or left to trials. */
static lpo_status settle_place(lpo_run *r, const json_t *saved, const lpo_choice *known, lpo_error *err) {
    lpo_choice *c = &r->choice;
    lpo_device *probe = NULL;
    lpo_error why;
    bool asked = false;
    lpo_status s = lpo_place_parse(&r->place, str(r, LPO_TRAIN_place), err);
    char *backbone = r->place.device[LPO_STAGE_backbone];
    if (s) return s;
    for (int i = 0; i < LPO_N_STAGES; i++)
        if (i != LPO_STAGE_backbone && !strcmp(r->place.device[i], "auto")) strcpy(r->place.device[i], "cpu");
    if (strcmp(backbone, "auto")) return LPO_OK;
    if (known)
        *c = *known;
    else if (!lpo_choice_from_json(c, json_object_get(json_object_get(saved, "run"), "placement")))
        lpo_choice_ask(c), asked = true;
    else if (strcmp(c->device, "cpu") && lpo_device_open(&probe, c->device, &why)) {
        lpo_choice_fall_back(c, why.msg);
        lpo_log(LPO_LOG_WARN, "placement: %s; the run goes on on the cpu", c->reason);
    } else
        lpo_choice_say(c, true);
    lpo_device_close(probe);
    if (asked && !c->pending) lpo_choice_say(c, false);
    strcpy(backbone, c->device);
    return LPO_OK;
}

/* "decode=cpu,..." */
static void place_text(char out[LPO_N_STAGES * 2 * LPO_PLACE_BYTES], const lpo_place *p) {
    int used = 0;
    for (int i = 0; i < LPO_N_STAGES; i++)
        used += sprintf(out + used, "%s%s=%s", i ? "," : "", lpo_stage_name((lpo_stage)i), p->device[i]);
}

/* The model's folder, its recipe, and the data, before the backbone's device is chosen. */
static lpo_status open_feed(lpo_run *r, lpo_error *err) {
    char place[LPO_N_STAGES * 2 * LPO_PLACE_BYTES];
    place_text(place, &r->place);
    lpo_status s = open_session(&r->session, r, model_dir(r), place, err);
    if (!s) s = open_adapters(r, r->session.model, err);
    if (!s)
        s = open_data(&r->data, r, str(r, LPO_TRAIN_data), r->data_hash, "quarantine.jsonl", "checked.json",
                      num(r, LPO_TRAIN_limit), err);
    return s ? s : plan_steps(r, err);
}

static lpo_status open_rest(lpo_run *r, lpo_error *err) {
    r->micro = num(r, LPO_TRAIN_per_device_train_batch_size);
    r->batch = r->micro * num(r, LPO_TRAIN_gradient_accumulation_steps);
    r->state.seed = (uint64_t)num(r, LPO_TRAIN_seed);
    if (r->batch > 1 << 20)
        return lpo_fail(err, LPO_ELIMIT, "a batch of %" PRId64 " records is over %d", r->batch, 1 << 20);
    lpo_status s = open_feed(r, err);
    if (!s && r->choice.pending) s = lpo_trials(r, err);
    if (!s) lpo_loss_place(r->loss, r->session.reducer, false);
    if (!s) s = lpo_loss_bind(r->loss, r->data, err);
    if (!s) s = open_heldout(r, err);
    if (!s)
        s = lpo_engine_open(&r->engine, r->session.model,
                            lpo_train_bool(r->o, LPO_TRAIN_gradient_checkpointing), err);
    r->engine.separate = !lpo_train_bool(r->o, LPO_TRAIN_shared_prefix);
    if (!s) s = open_references(r, err);
    if (!s) s = open_optimizer(r, err);
    if (!s) s = write_config(r, err);
    if (!s) s = open_outputs(r, err);
    if (s) return s;
    lpo_loader_options lo = loader_options(r, (int)r->batch);
    lo.shuffle = true;
    lo.first_step = r->state.step;
    lo.n_steps = r->total_steps - r->state.step;
    return lo.n_steps > 0 ? lpo_loader_create(&r->loader, r->data, &r->session.recipe, &lo, err) : LPO_OK;
}

lpo_status lpo_run_open(lpo_run *r, const lpo_train_options *o, const lpo_choice *known,
                        lpo_progress_fn *progress, void *user, lpo_error *err) {
    json_t *saved = NULL;
    r->lock_fd = -1;
    r->progress = progress;
    r->user = user;
    r->o = lpo_train_options_copy(o);
    lpo_status s = r->o ? read_config(&saved, r, err) : lpo_fail(err, LPO_ENOMEM, "out of memory");
    if (!s) s = lpo_loss_create(&r->loss, r->o, err);
    if (!s) s = check_data(r, saved, err);
    if (!s) s = settle_place(r, saved, known, err);
    json_decref(saved);
    if (s) return s;
    r->pairs = lpo_loss_needs_pairs(r->loss);
    s = lock_folder(r, err);
    if (!s) s = find_checkpoint(r, err);
    return s ? s : open_rest(r, err);
}

lpo_status lpo_run_save(lpo_run *r, bool is_last, lpo_error *err) {
    char tmp[LPO_PATH_BYTES], path[LPO_PATH_BYTES + 32];
    static const char *const dtype[] = {[LPO_F32] = "f32", [LPO_BF16] = "bf16", [LPO_F64] = "f64"};
    int n_params;
    lpo_param *const *params = lpo_model_params(r->session.model, &n_params);
    /* The metrics up to here are on disk before a checkpoint says how many there are. */
    lpo_status s = lpo_lines_sync(r->metrics, err);
    r->state.metrics_bytes = lpo_lines_bytes(r->metrics);
    r->state.n_objective = lpo_loss_state(r->loss, r->state.objective, LPO_MAX_OBJECTIVE_STATE);
    if (!s) s = lpo_checkpoint_begin(tmp, r->out, r->state.step, err);
    if (s) return s;
    s = lpo_model_save(r->session.model, tmp, dtype[params[0]->dtype], err);
    snprintf(path, sizeof path, "%s/optimizer.safetensors", tmp);
    if (!s) s = lpo_optimizer_save(r->optimizer, path, err);
    if (s) {
        lpo_checkpoint_abort(r->out, r->state.step);
        return lpo_fail_in(err, s, "saving a checkpoint (those before it are whole)");
    }
    s = lpo_checkpoint_commit(r->last, r->out, &r->state, err);
    if (s) return s;
    return lpo_checkpoint_prune(r->out, (int)num(r, LPO_TRAIN_save_total_limit), is_last ? NULL : r->origin,
                                err);
}

void lpo_run_close(lpo_run *r) {
    lpo_loader_destroy(r->loader);
    lpo_events_close(r->events);
    lpo_lines_close(r->timing);
    lpo_lines_close(r->metrics);
    lpo_optimizer_destroy(r->optimizer);
    lpo_engine_close(&r->engine);
    lpo_reference_clear(&r->heldout.ref);
    lpo_loss_destroy(r->heldout.loss);
    lpo_reference_clear(&r->ref);
    lpo_dataset_close(r->eval_data);
    lpo_dataset_close(r->data);
    lpo_session_close(&r->session);
    lpo_loss_destroy(r->loss);
    if (r->lock_fd >= 0) close(r->lock_fd);
    lpo_train_options_destroy(r->o);
}
