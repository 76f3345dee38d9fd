/* SPDX-License-Identifier: Apache-2.0 */
/* train.c -- the loop: batch, loss, gradient, update, figures; see run.h for what stands around it.
 * Order within a step: update, its line of metrics, evaluation if due, checkpoint if due. A checkpoint
 * therefore always holds everything its step had to say, and a run killed anywhere repeats from there with
 * the same bytes. */
#include "train/run.h"

#include "base/clock.h"
#include "base/rng.h"
#include "base/trace.h"
#include "profile/trace_file.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* What one optimizer step found out. */
typedef struct step_sums {
    lpo_loss_sum loss;
    double logps_w, logps_l, entropy, grad_norm, lr, reduce_s, optimizer_s;
    int64_t tokens, hits, input_tokens;
} step_sums;

static double sum_of(const double *x, int64_t n) {
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += x[i];
    return s;
}

/* ---- one step ---- */

static lpo_status micro_step(step_sums *f, lpo_run *r, const lpo_batch *b, int32_t first, int32_t n,
                             int64_t tokens_total, lpo_error *err) {
    lpo_rows rows;
    lpo_rng rng = lpo_rng_init(r->state.seed, (uint64_t)(r->state.step + 1) << 20 | (uint32_t)first);
    r->engine.dropout_seed = lpo_rng_u64(&rng) | 1;
    lpo_status s = lpo_engine_forward(&rows, &r->engine, b, first, n, r->pairs, true, err);
    if (s) return s;
    const int64_t n_w = rows.start_w[n], n_l = rows.start_l[n];
    double *g_w = lpo_arena_alloc(r->engine.arena, (size_t)n_w, sizeof *g_w);
    double *g_l = lpo_arena_alloc(r->engine.arena, (size_t)n_l, sizeof *g_l);
    if (!g_w || !g_l) return lpo_fail(err, LPO_ENOMEM, "out of memory for a batch");
    const double t0 = lpo_now_s();
    s = lpo_loss_eval(&f->loss, g_w, g_l, r->loss, &rows, &r->ref, b->n_samples, tokens_total, r->state.step,
                      r->total_steps, err);
    lpo_trace_end(t0, "reduce", "cpu", NULL, 16 * (double)(n_w + n_l), 0); /* a double each way */
    lpo_trace_count("n:tokens", (double)(n_w + n_l));
    f->reduce_s += lpo_now_s() - t0;
    if (!s) s = lpo_engine_backward(&r->engine, &rows, g_w, g_l, err);
    f->logps_w += sum_of(rows.t_w, n_w);
    f->logps_l += sum_of(rows.t_l, n_l);
    f->entropy += rows.entropy_sum;
    f->tokens += n_w + n_l;
    f->hits += rows.hit_w;
    f->input_tokens += rows.n_input_tokens;
    return s;
}

/* "step 12 (records a, b, c, ...); the last good checkpoint is ..." in front of an error. */
static lpo_status blame(lpo_error *err, lpo_status code, const lpo_run *r, const lpo_batch *b) {
    char list[160] = "";
    size_t used = 0;
    for (int32_t i = 0; i < b->n_samples && used < sizeof list - 8; i++) {
        int k = snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", b->samples[i].record->id);
        used += k > 0 ? (size_t)k : 0;
    }
    return lpo_fail_in(err, code, "step %" PRId64 " (records %s%s); %s%s", r->state.step + 1, list,
                       used >= sizeof list - 8 ? "..." : "",
                       *r->last ? "the last good checkpoint is " : "there is no checkpoint yet", r->last);
}

static lpo_status not_finite(lpo_error *err, const char *what, double x) {
    return lpo_fail(err, LPO_ENUMERIC, "the %s is %g (try a lower --learning-rate, or --dtype f32)", what, x);
}

/* bytes: of what is read and written for each trainable parameter. */
static void account_optimizer(step_sums *f, const lpo_run *r, double begin_s, const char *what,
                              double bytes) {
    f->optimizer_s += lpo_now_s() - begin_s;
    lpo_trace_end(begin_s, "optimizer", lpo_engine_device(&r->engine), what,
                  bytes * (double)lpo_optimizer_n_params(r->optimizer), 0);
}

static lpo_status train_step(step_sums *f, lpo_run *r, const lpo_batch *b, lpo_error *err) {
    int64_t tokens_total = 0;
    *f = (step_sums){.lr = lpo_schedule_at(&r->schedule, r->state.step)};
    for (int32_t i = 0; i < b->n_samples; i++)
        tokens_total += (int64_t)b->samples[i].chosen.n - b->samples[i].n_prompt;
    double t0 = lpo_now_s();
    lpo_status s = lpo_model_zero_grads(r->session.model, err);
    account_optimizer(f, r, t0, "zero gradients", 4);
    for (int32_t i = 0; i < b->n_samples && !s; i += (int32_t)r->micro) {
        const int32_t left = b->n_samples - i;
        s = micro_step(f, r, b, i, left < r->micro ? left : (int32_t)r->micro, tokens_total, err);
    }
    if (!s && !isfinite(lpo_loss_value(&f->loss))) s = not_finite(err, "loss", lpo_loss_value(&f->loss));
    t0 = lpo_now_s();
    if (!s) s = lpo_optimizer_grad_norm(&f->grad_norm, r->optimizer, err);
    if (!s && !isfinite(f->grad_norm)) s = not_finite(err, "gradient's norm", f->grad_norm);
    if (s) return s == LPO_ENUMERIC ? blame(err, s, r, b) : s;
    s = lpo_optimizer_step(r->optimizer, f->lr, r->state.step + 1, err);
    account_optimizer(f, r, t0, "norm, AdamW", 4 + 7 * 4); /* g; p, m, v there and back, and g again */
    return s;
}

/* ---- figures ---- */

static double epoch_at(const lpo_run *r, int64_t step) {
    return (double)(step * r->batch) / (double)lpo_dataset_count(r->data);
}

/* TRL's names; a set without rejected responses has no rewards. */
static void add_rewards(lpo_scalars *m, const lpo_loss_sum *s, const char *const name[4]) {
    if (!s->reward_rows) return;
    const double n = (double)s->reward_rows;
    lpo_scalars_add(m, name[0], s->reward_chosen / n);
    lpo_scalars_add(m, name[1], s->reward_rejected / n);
    lpo_scalars_add(m, name[2], s->accuracy / n);
    lpo_scalars_add(m, name[3], s->margin / n);
}

static void step_metrics(lpo_scalars *m, const lpo_run *r, const step_sums *f) {
    static const char *const rewards[4] = {"rewards/chosen", "rewards/rejected", "rewards/accuracies",
                                           "rewards/margins"};
    const double rows = (double)f->loss.rows;
    *m = (lpo_scalars){.step = r->state.step};
    lpo_scalars_add(m, "epoch", epoch_at(r, r->state.step));
    lpo_scalars_add(m, "loss", lpo_loss_value(&f->loss));
    lpo_scalars_add(m, "learning_rate", f->lr);
    lpo_scalars_add(m, "grad_norm", f->grad_norm);
    add_rewards(m, &f->loss, rewards);
    lpo_scalars_add(m, "logps/chosen", f->logps_w / rows);
    if (r->pairs) lpo_scalars_add(m, "logps/rejected", f->logps_l / rows);
    lpo_scalars_add(m, "nll_loss", -f->logps_w / (double)f->loss.tokens);
    lpo_scalars_add(m, "entropy", f->entropy / (double)f->tokens);
    lpo_scalars_add(m, "mean_token_accuracy", (double)f->hits / (double)f->loss.tokens);
    lpo_scalars_add(m, "num_tokens", (double)r->state.num_tokens);
    if (!f->loss.reward_rows) return;
    lpo_scalars_add(m, "smoothing/eps_mean", f->loss.eps / (double)f->loss.reward_rows);
    lpo_scalars_add(m, "smoothing/eps_std", lpo_loss_eps_std(&f->loss));
    lpo_scalars_add(m, "smoothing/eps_min", f->loss.eps_min);
    lpo_scalars_add(m, "smoothing/eps_max", f->loss.eps_max);
}

static lpo_status evaluate(lpo_run *r, lpo_error *err) {
    static const char *const rewards[4] = {"eval_rewards/chosen", "eval_rewards/rejected",
                                           "eval_rewards/accuracies", "eval_rewards/margins"};
    double saved[LPO_MAX_OBJECTIVE_STATE];
    lpo_heldout_result h;
    lpo_run_state *st = &r->state;
    if (!r->heldout.data) return LPO_OK;
    const double t0 = lpo_trace_begin();
    lpo_status s = LPO_OK;
    /* The loss's running state is that of training; evaluating must not move it. */
    if (r->heldout.loss)
        s = lpo_loss_restore(r->heldout.loss, saved, lpo_loss_state(r->loss, saved, LPO_MAX_OBJECTIVE_STATE),
                             err);
    if (!s)
        s = lpo_heldout_run(&h, &r->heldout, &r->engine, &r->session.recipe, st->step, r->total_steps,
                            r->progress, r->user, err);
    if (s) return s;
    if (!st->has_base) {
        st->has_base = true;
        st->base_chosen = h.chosen;
        st->base_rejected = h.rejected;
    }
    st->displacement_chosen = h.chosen - st->base_chosen;
    st->displacement_rejected = h.rejected - st->base_rejected;
    lpo_scalars m = {.step = st->step};
    lpo_scalars_add(&m, "epoch", epoch_at(r, st->step));
    if (r->heldout.loss) {
        st->eval_loss = lpo_loss_value(&h.sum);
        lpo_scalars_add(&m, "eval_loss", st->eval_loss);
        add_rewards(&m, &h.sum, rewards);
        lpo_scalars_add(&m, "eval_logps/chosen", h.logps_chosen);
        if (r->heldout.pairs) lpo_scalars_add(&m, "eval_logps/rejected", h.logps_rejected);
        lpo_scalars_add(&m, "eval_entropy", h.entropy);
        lpo_scalars_add(&m, "eval_mean_token_accuracy", h.mean_token_accuracy);
    }
    if (r->heldout.n_fixed > 0) {
        lpo_scalars_add(&m, "displacement/chosen", st->displacement_chosen);
        lpo_scalars_add(&m, "displacement/logp_chosen", h.chosen);
    }
    lpo_trace_end(t0, "evaluate", "cpu", NULL, 0, 0);
    if (r->heldout.n_fixed > 0 && r->heldout.pairs) {
        lpo_scalars_add(&m, "displacement/rejected", st->displacement_rejected);
        lpo_scalars_add(&m, "displacement/logp_rejected", h.rejected);
    }
    s = lpo_lines_put(r->metrics, &m, err);
    return s ? s : lpo_events_put(r->events, &m, err);
}

/* What the cards did since the run began. With the times: it does not change what is learned. */
static void add_cards(lpo_scalars *t, lpo_fpga *const card[LPO_N_STAGES]) {
    lpo_fpga *const prep = card[LPO_STAGE_preprocess], *const reduce = card[LPO_STAGE_reduce];
    lpo_fpga_stats s = {0}, other = {0};
    if (!prep && !reduce) return;
    if (prep) lpo_fpga_get_stats(&s, prep, LPO_HLS_N_KERNELS);
    if (reduce && reduce != prep) lpo_fpga_get_stats(&other, reduce, LPO_HLS_N_KERNELS);
    s.jobs += other.jobs, s.retries += other.retries, s.timeouts += other.timeouts;
    s.aborts += other.aborts, s.fallbacks += other.fallbacks;
    s.bytes_up += other.bytes_up, s.bytes_down += other.bytes_down;
    lpo_scalars_add(t, "fpga/jobs", (double)s.jobs);
    lpo_scalars_add(t, "fpga/retries", (double)s.retries);
    lpo_scalars_add(t, "fpga/timeouts", (double)s.timeouts);
    lpo_scalars_add(t, "fpga/aborts", (double)s.aborts);
    lpo_scalars_add(t, "fpga/fallbacks", (double)s.fallbacks);
    lpo_scalars_add(t, "fpga/bytes_up", (double)s.bytes_up);
    lpo_scalars_add(t, "fpga/bytes_down", (double)s.bytes_down);
}

/* After the update: the state moves on, the line is written. */
static lpo_status report_step(lpo_run *r, const step_sums *f, double step_s, double wait_s,
                              const lpo_engine *before, lpo_error *err) {
    lpo_scalars m, t = {.step = r->state.step + 1};
    r->state.step++;
    r->state.num_tokens += f->input_tokens;
    r->state.loss = lpo_loss_value(&f->loss);
    if (f->loss.reward_rows) {
        r->state.reward_accuracy = f->loss.accuracy / (double)f->loss.reward_rows;
        r->state.reward_margin = f->loss.margin / (double)f->loss.reward_rows;
    }
    if (r->state.step % lpo_train_int(r->o, LPO_TRAIN_logging_steps)) return LPO_OK;
    step_metrics(&m, r, f);
    lpo_scalars_add(&t, "time/step_s", step_s);
    lpo_scalars_add(&t, "time/data_wait_s", wait_s);
    lpo_scalars_add(&t, "time/record_s", r->engine.record_s - before->record_s);
    lpo_scalars_add(&t, "time/forward_s", r->engine.forward_s - before->forward_s);
    lpo_scalars_add(&t, "time/reduce_s", f->reduce_s);
    lpo_scalars_add(&t, "time/backward_s", r->engine.backward_s - before->backward_s);
    lpo_scalars_add(&t, "time/optimizer_s", f->optimizer_s);
    lpo_scalars_add(&t, "tokens_per_s", (double)f->input_tokens / step_s);
    lpo_scalars_add(&t, "records_per_s", (double)f->loss.rows / step_s);
    add_cards(&t, r->session.card);
    if (r->choice.fallbacks) lpo_scalars_add(&t, "place/fallbacks", (double)r->choice.fallbacks);
    lpo_status s = lpo_lines_put(r->metrics, &m, err);
    if (!s) s = lpo_lines_put(r->timing, &t, err);
    if (!s) s = lpo_events_put(r->events, &m, err);
    return s ? s : lpo_events_put(r->events, &t, err);
}

/* ---- the loop ---- */

static bool due(int64_t step, int64_t every, int64_t total) {
    return step == total || (every > 0 && step % every == 0);
}

/* How fast it went, over all that was done. */
typedef struct pace {
    double seconds, wait_s;
    int64_t records;
} pace;

static lpo_status one_step(lpo_run *r, pace *p, lpo_error *err) {
    lpo_batch *b;
    step_sums f;
    double wait_s, t0 = lpo_now_s();
    const lpo_engine before = r->engine;
    lpo_status s = lpo_loader_next(&b, r->loader, &wait_s, err);
    if (s) return s;
    s = train_step(&f, r, b, err);
    lpo_loader_release(r->loader, b);
    const double step_s = lpo_now_s() - t0;
    lpo_trace_end(t0, "step", "cpu", NULL, 0, 0);
    p->wait_s += wait_s;
    p->records += f.loss.rows;
    return s ? s : report_step(r, &f, step_s, wait_s, &before, err);
}

static lpo_status loop(lpo_run *r, pace *p, int (*cancel)(void *), lpo_error *err) {
    const int64_t eval_steps = lpo_train_int(r->o, LPO_TRAIN_eval_steps),
                  save_steps = lpo_train_int(r->o, LPO_TRAIN_save_steps);
    lpo_status s = LPO_OK;
    const double t0 = lpo_now_s();
    bool stop = false;
    if (!r->resumed) s = evaluate(r, err);
    while (!s && !stop && r->state.step < r->total_steps) {
        s = one_step(r, p, err);
        if (s) break;
        const int64_t step = r->state.step;
        if (r->progress && r->progress(r->user, "training", step, r->total_steps)) stop = true;
        if (cancel && cancel(r->user)) stop = true;
        if (due(step, eval_steps, r->total_steps)) s = evaluate(r, err);
        if (!s && save_steps >= 0 && (stop || due(step, save_steps, r->total_steps))) {
            const double t = lpo_trace_begin();
            s = lpo_run_save(r, stop || step == r->total_steps, err);
            lpo_trace_end(t, "checkpoint", "cpu", NULL, 0, 0);
        }
    }
    p->seconds += lpo_now_s() - t0;
    if (!s && stop && r->state.step < r->total_steps)
        s = lpo_fail(err, LPO_ECANCELED,
                     "stopped after step %" PRId64 " of %" PRId64 "; go on with --resume --out %s",
                     r->state.step, r->total_steps, r->out);
    return s;
}

/* RUN/trace.json, also of a run that failed or was stopped on the way: s is how it went. */
static lpo_status write_trace(const lpo_run *r, lpo_status s, lpo_error *err) {
    char path[LPO_PATH_BYTES];
    const lpo_param *p = lpo_model_params(r->session.model, &(int){0})[0];
    lpo_trace_count("is:vocab", r->session.info.vocab_size);
    lpo_trace_count("is:threads", r->session.n_threads);
    lpo_trace_count("is:bf16", p->dtype == LPO_BF16);
    lpo_status saved = lpo_run_path(path, r, "trace.json", s ? NULL : err);
    if (!saved) saved = lpo_trace_save_now(path, s ? NULL : err);
    return s ? s : saved;
}

/* ---- a run, from start to end or to a lost device ---- */

/* Is the device to blame? Out of memory is its word too: a host without memory says it on the CPU again. */
static bool device_failed(lpo_status s) {
    return s == LPO_EDEVICE || s == LPO_ENOMEM || s == LPO_EUNSUPPORTED;
}

/* The user named the device, so the user decides how to go on; what is needed for that stands in front. */
static lpo_status device_error(const lpo_run *r, lpo_status s, lpo_error *err) {
    const char *device = r->place.device[LPO_STAGE_backbone];
    if (!device_failed(s) || !r->loader || !strcmp(device, "cpu") || !strcmp(device, "ref")) return s;
    return lpo_fail_in(err, s,
                       "step %" PRId64 ", backbone on %s; %s%s; go on with --resume --out %s, on %s again or "
                       "with --place backbone=cpu",
                       r->state.step + 1, device,
                       *r->last ? "the last checkpoint is whole: " : "there is no checkpoint yet", r->last,
                       r->out, device);
}

/* One go at it. known: the choice of a go before this one, or NULL. *next: the choice of another go, where
 * this one lost a device that was chosen by us: the CPU, with *again set. */
static lpo_status attempt(lpo_train_result *out, pace *p, lpo_choice *next, bool *again,
                          const lpo_train_options *o, const lpo_choice *known, int (*cancel)(void *),
                          lpo_progress_fn *progress, void *user, lpo_error *err) {
    lpo_run r = {0};
    const char *trace = lpo_train_str(o, LPO_TRAIN_trace);
    lpo_status s = lpo_run_open(&r, o, known, progress, user, err);
    if (!s && !strcmp(trace, "ops")) lpo_engine_trace_ops(&r.engine);
    if (!s) s = loop(&r, p, cancel, err);
    *again = r.choice.automatic && device_failed(s) && !r.choice.pending && strcmp(r.choice.device, "cpu");
    if (*again) {
        *next = r.choice;
        lpo_choice_fall_back(next, err->msg);
        lpo_log(LPO_LOG_WARN, "step %" PRId64 ": %s; the run goes on on the cpu, from %s", r.state.step + 1,
                next->reason, *r.last ? r.last : "the beginning");
    } else {
        if (*trace && r.loader) s = write_trace(&r, s, err);
        if (!r.choice.automatic) s = device_error(&r, s, err);
    }
    out->steps = r.state.step;
    out->loss = r.state.loss;
    out->eval_loss = r.state.eval_loss;
    out->reward_accuracy = r.state.reward_accuracy;
    out->reward_margin = r.state.reward_margin;
    out->displacement_chosen = r.state.displacement_chosen;
    out->displacement_rejected = r.state.displacement_rejected;
    out->fallbacks = r.choice.fallbacks;
    snprintf(out->last_checkpoint, sizeof out->last_checkpoint, "%s", r.last);
    lpo_run_close(&r);
    return s;
}

lpo_status lpo_train(lpo_train_result *out, const lpo_train_options *o, int (*cancel)(void *),
                     lpo_progress_fn *progress, void *user, lpo_error *err) {
    lpo_choice choice = {0};
    lpo_error own;
    pace p = {0};
    bool again;
    if (!err) err = &own;
    *out = (lpo_train_result){0};
    if (*lpo_train_str(o, LPO_TRAIN_trace)) lpo_trace_start();
    lpo_trace_thread("steps");
    lpo_status s = attempt(out, &p, &choice, &again, o, NULL, cancel, progress, user, err);
    if (again) {
        lpo_train_options *more = lpo_train_options_copy(o);
        s = more ? lpo_train_options_set(more, "resume", "1", err)
                 : lpo_fail(err, LPO_ENOMEM, "out of memory");
        const lpo_choice cpu = choice;
        if (!s) s = attempt(out, &p, &choice, &again, more, &cpu, cancel, progress, user, err);
        lpo_train_options_destroy(more);
    }
    out->seconds = p.seconds;
    if (p.seconds > 0) {
        out->wait_share = p.wait_s / p.seconds;
        out->pairs_per_s = (double)p.records / p.seconds;
    }
    return s;
}
