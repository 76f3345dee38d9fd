/* SPDX-License-Identifier: Apache-2.0 */
/* From parameters to the loss and back, in f64 on the reference device: the gradient a step accumulates is
 * the derivative of the loss it reports; and AdamW moves parameters as torch.optim.AdamW does. */
#include "model_tiny.h"
#include "train/loss.h"
#include "train/optimizer.h"

#include <unistd.h>

enum { N = 3 };
static lpo_dataset *data;
static lpo_sample samples[N];
static int32_t ids[2 * N][40];
static small_batch tiny;
static lpo_batch_clip clip;

/* Three pairs; the first two share a clip, the third has none. */
static lpo_batch make_batch(void) {
    static char path[] = "/tmp/lpo_stepXXXXXX";
    static const char line[] = "{\"video\":\"v\",\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\","
                               "\"ref_chosen_logps\":-9,\"ref_rejected_logps\":-8}\n";
    char text[3 * sizeof line] = "";
    lpo_error err = {0};
    for (int i = 0; i < N; i++) strcat(text, line);
    close(mkstemp(path));
    MUST(lpo_file_write(path, text, strlen(text), &err));
    lpo_dataset_options o = lpo_dataset_options_default();
    MUST(lpo_dataset_open(&data, path, &o, &err));
    unlink(path);
    fill_batch(&tiny);
    clip = (lpo_batch_clip){tiny.patches[0], 2, 2, 4, 1, NULL};
    const lpo_seq_input *with = &tiny.seqs[1], *without = &tiny.seqs[2];
    for (int i = 0; i < N; i++) {
        const lpo_seq_input *s = i < 2 ? with : without;
        for (int side = 0; side < 2; side++) {
            int32_t n = s->n_prompt + 2 + i + side, *p = ids[2 * i + side];
            memcpy(p, s->ids, (size_t)s->n_prompt * sizeof *p);
            for (int32_t k = s->n_prompt; k < n; k++) p[k] = (7 * i + 5 * side + 3 * k) % 18;
            *(side ? &samples[i].rejected : &samples[i].chosen) = (lpo_ids){p, (size_t)n, (size_t)n};
        }
        samples[i].n_prompt = s->n_prompt;
        samples[i].clip = i < 2 ? 0 : -1;
        samples[i].record = lpo_dataset_at(data, i);
    }
    return (lpo_batch){.n_samples = N, .n_clips = 1, .samples = samples, .clips = &clip};
}

static double loss_of(lpo_engine *e, lpo_loss *l, const lpo_batch *b, int micro, bool backward) {
    lpo_error err = {0};
    lpo_loss_sum sum = {0};
    int64_t tokens = 0;
    for (int i = 0; i < N; i++) tokens += (int64_t)samples[i].chosen.n - samples[i].n_prompt;
    if (backward) MUST(lpo_model_zero_grads(e->model, &err));
    for (int i = 0; i < N; i += micro) {
        lpo_rows r;
        double g_w[64], g_l[64];
        MUST(lpo_engine_forward(&r, e, b, i, i + micro > N ? N - i : micro, true, backward, &err));
        MUST(lpo_loss_eval(&sum, g_w, g_l, l, &r, NULL, N, tokens, 0, 10, &err));
        if (backward) MUST(lpo_engine_backward(e, &r, g_w, g_l, &err));
    }
    return lpo_loss_value(&sum);
}

/* Along a random direction of all parameters at once the accumulated gradient predicts the central
 * difference, whatever the micro-batch. The direction is about 70 long, so h = 1e-6 leaves truncation 70^2
 * h^2 = 5e-9 and rounding 1e-16/h = 1e-10. */
static void check(const char *objective, const char *set) {
    lpo_error err = {0};
    char *dir = temp_dir();
    make_small(dir, TIED);
    lpo_model *m = open_small(dir, "ref", "f64");
    lpo_batch b = make_batch();
    lpo_engine e;
    lpo_loss *l;
    lpo_train_options *o = lpo_train_options_create();
    MUST(lpo_train_options_set(o, "objective", objective, &err));
    MUST(lpo_train_options_set(o, "set", set, &err));
    MUST(lpo_loss_create(&l, o, &err));
    MUST(lpo_loss_bind(l, data, &err));
    MUST(lpo_model_set_trainable(m, "all", &err));
    MUST(lpo_model_alloc_grads(m, &err));
    MUST(lpo_engine_open(&e, m, false, &err));
    int n;
    lpo_param *const *p = lpo_model_params(m, &n);
    for (int micro = 1; micro <= N; micro++) {
        double predicted = 0, at[2];
        lpo_rng rng = lpo_rng_init(4, 0);
        loss_of(&e, l, &b, micro, true);
        for (int i = 0; i < n; i++)
            for (size_t k = 0; k < param_count(p[i]); k++)
                predicted +=
                    lpo_rng_normal(&rng) * ((double *)host_of(p[i]->grad, p[i]->grad_offset_bytes))[k];
        for (int side = 0; side < 2; side++) {
            const double h = 1e-6;
            /* to +h, then from there to -h */
            rng = lpo_rng_init(4, 0);
            for (int i = 0; i < n; i++)
                for (size_t k = 0; k < param_count(p[i]); k++)
                    ((double *)host_of(p[i]->data, 0))[k] += (side ? -2 * h : h) * lpo_rng_normal(&rng);
            at[side] = loss_of(&e, l, &b, micro, false);
        }
        rng = lpo_rng_init(4, 0);
        for (int i = 0; i < n; i++)
            for (size_t k = 0; k < param_count(p[i]); k++)
                ((double *)host_of(p[i]->data, 0))[k] += 1e-6 * lpo_rng_normal(&rng);
        const double measured = (at[0] - at[1]) / 2e-6;
        cr_assert(fabs(predicted) > 1e-3, "a gradient of %g shows nothing", predicted);
        cr_assert(fabs(measured - predicted) < 1e-7 * fabs(predicted),
                  "%s, micro-batch %d: gradient %.12g, measured %.12g", objective, micro, predicted,
                  measured);
    }
    lpo_engine_close(&e);
    lpo_loss_destroy(l);
    lpo_train_options_destroy(o);
    lpo_dataset_close(data);
    lpo_model_destroy(m);
    lpo_dir_remove(dir, &err);
}

/* Smoothing is a constant to the gradient, so the check fixes it. */
Test(train_step, gradient_leanpo_with_sft) {
    check("leanpo+0.7*sft", "smoothing=fixed,leanpo.eps=0.1");
}
Test(train_step, gradient_dpo) {
    check("dpo", "beta=0.3");
}

Test(train_step, gradient_simpo) {
    check("simpo", "beta=2,gamma_r=0.25");
}

/* Loss and gradient of an objective in f32, the pairs' prompts shared or not; NULL: the records lack a column
 * it needs. */
static float *gradient_of(double *loss, lpo_model *m, const lpo_batch *b, const char *objective,
                          bool separate) {
    lpo_error err = {0};
    lpo_engine e;
    lpo_loss *l;
    lpo_train_options *o = lpo_train_options_create();
    MUST(lpo_train_options_set(o, "objective", objective, &err));
    MUST(lpo_loss_create(&l, o, &err));
    float *g = NULL;
    if (!lpo_loss_bind(l, data, &err) && !lpo_loss_needs_reference(l)) {
        size_t total = 0, at = 0;
        int n;
        lpo_param *const *p = lpo_model_params(m, &n);
        MUST(lpo_engine_open(&e, m, true, &err));
        e.separate = separate;
        *loss = loss_of(&e, l, b, 2, true);
        for (int i = 0; i < n; i++) total += param_count(p[i]);
        g = malloc(total * sizeof *g);
        for (int i = 0; i < n; at += param_count(p[i++]))
            memcpy(g + at, host_of(p[i]->grad, p[i]->grad_offset_bytes), param_count(p[i]) * sizeof *g);
        g = realloc(g, (total + 1) * sizeof *g);
        g[total] = NAN; /* where it ends */
        lpo_engine_close(&e);
    }
    lpo_loss_destroy(l);
    lpo_train_options_destroy(o);
    return g;
}

/* Every objective: the same loss to the last bit whether the prompt of a pair is computed once or twice, and
 * the same gradient within 1e-5 of its largest number. */
Test(train_step, shared_prefix_of_every_objective) {
    lpo_error err = {0};
    char *dir = temp_dir();
    make_small(dir, UNTIED);
    lpo_model *m = open_small(dir, "cpu", "f32");
    lpo_batch b = make_batch();
    MUST(lpo_model_set_trainable(m, "all", &err));
    MUST(lpo_model_alloc_grads(m, &err));
    int n_checked = 0;
    for (int k = 0; lpo_objective_at(k); k++) {
        const char *name = lpo_objective_at(k)->name;
        double loss[2];
        float *one = gradient_of(&loss[0], m, &b, name, true), *two = NULL;
        if (!one) continue;
        two = gradient_of(&loss[1], m, &b, name, false);
        cr_expect_eq(loss[0], loss[1], "%s: loss %.17g and %.17g", name, loss[0], loss[1]);
        double largest = 0, far = 0;
        for (size_t i = 0; !isnan(one[i]); i++) {
            largest = fmax(largest, fabs((double)one[i]));
            far = fmax(far, fabs((double)one[i] - (double)two[i]));
        }
        cr_expect(far <= 1e-5 * largest, "%s: %g of %g", name, far, largest);
        n_checked += largest > 0;
        free(one);
        free(two);
    }
    cr_expect_geq(n_checked, 20, "%d objectives", n_checked);
    lpo_dataset_close(data);
    lpo_model_destroy(m);
    lpo_dir_remove(dir, &err);
}

static lpo_model *f32_model(const char *dir, const char *dtype, lpo_optimizer **out, const lpo_adamw *a) {
    lpo_error err = {0};
    lpo_model *m = open_small(dir, "ref", dtype);
    MUST(lpo_model_set_trainable(m, "llm", &err));
    MUST(lpo_model_alloc_grads(m, &err));
    MUST(lpo_optimizer_create(out, m, a, &err));
    return m;
}

static void set_grads(lpo_model *m, uint64_t stream) {
    int n;
    lpo_param *const *p = lpo_model_params(m, &n);
    lpo_rng rng = lpo_rng_init(9, stream);
    for (int i = 0; i < n; i++)
        for (size_t k = 0; p[i]->trainable && k < param_count(p[i]); k++)
            ((float *)host_of(p[i]->grad, p[i]->grad_offset_bytes))[k] = (float)(0.1 * lpo_rng_normal(&rng));
}

/* Three steps of every trainable parameter against the update written out in double: p -= lr wd p (matrices
 * only), then lr m^ / (sqrt(v^) + eps), with the gradient clipped to norm 1. Frozen ones do not move. 1e-6:
 * f32 moments. */
Test(train_step, adamw) {
    const lpo_adamw a = {.beta1 = 0.9, .beta2 = 0.99, .eps = 1e-6, .weight_decay = 0.1, .max_grad_norm = 1};
    lpo_error err = {0};
    lpo_optimizer *o;
    char *dir = temp_dir();
    make_small(dir, TIED);
    lpo_model *m = f32_model(dir, "f32", &o, &a);
    int n, frozen = 0;
    lpo_param *const *p = lpo_model_params(m, &n);
    double *want[128], *m1[128], *m2[128];
    cr_assert(n <= 128);
    for (int i = 0; i < n; i++) {
        size_t count = param_count(p[i]);
        want[i] = malloc(count * sizeof(double));
        m1[i] = calloc(count, sizeof(double));
        m2[i] = calloc(count, sizeof(double));
        for (size_t k = 0; k < count; k++) want[i][k] = (double)((float *)host_of(p[i]->data, 0))[k];
        frozen += !p[i]->trainable;
    }
    cr_assert(frozen > 0 && frozen < n);
    for (int t = 1; t <= 3; t++) {
        double norm, norm2 = 0;
        const double lr = 0.01 * t;
        set_grads(m, (uint64_t)t);
        MUST(lpo_optimizer_grad_norm(&norm, o, &err));
        for (int i = 0; i < n; i++)
            for (size_t k = 0; p[i]->trainable && k < param_count(p[i]); k++)
                norm2 += pow((double)((float *)host_of(p[i]->grad, p[i]->grad_offset_bytes))[k], 2);
        cr_assert(fabs(norm - sqrt(norm2)) < 1e-9 && norm > 1);
        MUST(lpo_optimizer_step(o, lr, t, &err));
        for (int i = 0; i < n; i++)
            for (size_t k = 0; p[i]->trainable && k < param_count(p[i]); k++) {
                const double g =
                    (double)((float *)host_of(p[i]->grad, p[i]->grad_offset_bytes))[k] / (norm + 1e-6);
                if (p[i]->ndim > 1) want[i][k] *= 1 - lr * 0.1;
                m1[i][k] = 0.9 * m1[i][k] + 0.1 * g;
                m2[i][k] = 0.99 * m2[i][k] + 0.01 * g * g;
                want[i][k] -=
                    lr * (m1[i][k] / (1 - pow(0.9, t))) / (sqrt(m2[i][k] / (1 - pow(0.99, t))) + 1e-6);
            }
    }
    for (int i = 0; i < n; i++) {
        for (size_t k = 0; k < param_count(p[i]); k++) {
            double got = (double)((float *)host_of(p[i]->data, 0))[k];
            cr_assert(fabs(got - want[i][k]) < 1e-6, "%s[%zu]: %g, expected %g", p[i]->name, k, got,
                      want[i][k]);
        }
        free(want[i]);
        free(m1[i]);
        free(m2[i]);
    }
    lpo_optimizer_destroy(o);
    lpo_model_destroy(m);
    lpo_dir_remove(dir, &err);
}

/* A bf16 model keeps an f32 master: steps too small for bf16 add up instead of being rounded away, and an
 * optimizer saved, loaded into a fresh model and stepped gives the same bits as one that went on. */
Test(train_step, bf16_master_and_resume) {
    const lpo_adamw a = {.beta1 = 0.9, .beta2 = 0.99, .eps = 1e-6};
    lpo_error err = {0};
    lpo_optimizer *o, *o2;
    char *dir = temp_dir(), saved[128], state[160];
    make_small(dir, TIED);
    snprintf(saved, sizeof saved, "%s/saved", dir);
    snprintf(state, sizeof state, "%s/optimizer.safetensors", dir);
    lpo_model *m = f32_model(dir, "bf16", &o, &a);
    int n;
    lpo_param *const *p = lpo_model_params(m, &n);
    int i = 0;
    while (!p[i]->trainable || p[i]->ndim < 2) i++;
    const size_t bytes = param_count(p[i]) * 2;
    void *first = malloc(bytes);
    memcpy(first, host_of(p[i]->data, 0), bytes);
    double norm;
    for (int t = 1; t <= 40; t++) {
        set_grads(m, 0);
        MUST(lpo_optimizer_grad_norm(&norm, o, &err));
        MUST(lpo_optimizer_step(o, 2e-5, t,
                                &err)); /* 40 of them move a weight of 0.3 by 8e-4, a bf16 ulp is 2e-3 */
    }
    int moved = 0;
    for (size_t k = 0; k < bytes / 2; k++)
        moved += ((uint16_t *)first)[k] != ((uint16_t *)host_of(p[i]->data, 0))[k];
    cr_assert(moved > 10, "%d of %zu weights moved", moved, bytes / 2);
    MUST(lpo_dir_create(saved, &err));
    MUST(lpo_model_save(m, saved, "bf16", &err));
    MUST(lpo_optimizer_save(o, state, &err));
    lpo_model *m2 = f32_model(saved, "bf16", &o2, &a);
    MUST(lpo_optimizer_load(o2, state, &err));
    set_grads(m, 5);
    set_grads(m2, 5);
    MUST(lpo_optimizer_grad_norm(&norm, o, &err));
    MUST(lpo_optimizer_grad_norm(&norm, o2, &err));
    MUST(lpo_optimizer_step(o, 1e-3, 41, &err));
    MUST(lpo_optimizer_step(o2, 1e-3, 41, &err));
    lpo_param *const *p2 = lpo_model_params(m2, &n);
    for (int k = 0; k < n; k++)
        cr_assert_arr_eq(host_of(p[k]->data, 0), host_of(p2[k]->data, 0), param_count(p[k]) * 2);
    free(first);
    lpo_optimizer_destroy(o);
    lpo_optimizer_destroy(o2);
    lpo_model_destroy(m);
    lpo_model_destroy(m2);
    lpo_dir_remove(dir, &err);
}
