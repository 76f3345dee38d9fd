/* SPDX-License-Identifier: Apache-2.0 */
/* Truths about adapters: new ones change no bit; the gradient of A and B is the derivative, through dropout
 * and recomputation, and nothing else gets one; merged weights compute what the adapters did; PEFT's files
 * come back with the same bits, and what is in them that we cannot compute is refused by name. */
#include "kernels/cpu/cpu.h"
#include "model/generate.h"
#include "model/lora_parts.h"
#include "model_tiny.h"
#include "tensor/safetensors.h"

#include <unistd.h>

static const lpo_lora_options RANK3 = {.r = 3, .alpha = 6, .dropout = 0.3};

typedef struct run {
    double loss, logp[16];
    int64_t n;
} run;

/* sum_i sin(1.7 i + 0.3) * logp[i] of the small batch; with `backward`, its gradients too. */
static run run_small(lpo_model *m, bool backward, const lpo_forward_options *o) {
    lpo_error err = {0};
    static small_batch b;
    fill_batch(&b);
    run r = {0};
    lpo_tape *t;
    lpo_forward_out out;
    double w64[16];
    float w32[16], narrow[16];
    MUST(lpo_tape_create(&t, lpo_model_placement(m), &err));
    MUST(lpo_model_record(&out, t, m, &b.batch, o, &err));
    r.n = out.n_tokens;
    const bool f64 = lpo_val_dtype(t, out.logp) == LPO_F64;
    for (int64_t i = 0; i < r.n; i++) w32[i] = (float)(w64[i] = sin(1.7 * (double)i + 0.3));
    if (backward) {
        MUST(lpo_model_zero_grads(m, &err));
        lpo_tape_backward(t, out.logp,
                          lpo_tape_input(t, f64 ? LPO_F64 : LPO_F32, 1, &r.n, f64 ? (void *)w64 : w32));
    }
    MUST(lpo_tape_plan(t, &err));
    MUST(lpo_tape_run(t, 0, -1, &err));
    MUST(lpo_tape_read(f64 ? (void *)r.logp : narrow, t, out.logp, &err));
    for (int64_t i = 0; i < r.n; i++) {
        if (!f64) r.logp[i] = (double)narrow[i];
        r.loss += w64[i] * r.logp[i];
    }
    lpo_tape_destroy(t);
    return r;
}

/* B away from zero, as after some training. */
static void stir(lpo_model *m) {
    lpo_rng rng = lpo_rng_init(7, 1);
    for (int i = 0; i < m->lora->n; i++) {
        const lpo_param *b = &m->lora->adapters[i].b;
        for (size_t k = 0; k < param_count(b); k++) {
            const double x = 0.3 * lpo_rng_normal(&rng);
            if (m->dtype == LPO_F64)
                ((double *)host_of(b->data, 0))[k] = x;
            else
                ((float *)host_of(b->data, 0))[k] = (float)x;
        }
    }
}

static lpo_model *open_with(const char *dir, const char *place, const char *dtype,
                            const lpo_lora_options *o) {
    lpo_error err = {0};
    lpo_model *m = open_small(dir, place, dtype);
    MUST(lpo_lora_attach(m, o, 11, &err));
    return m;
}

Test(lora, new_adapters_change_no_bit) {
    lpo_error err = {0};
    char *dir = temp_dir();
    make_small(dir, UNTIED);
    lpo_model *m = open_small(dir, "cpu", "f32");
    const run before = run_small(m, false, NULL);
    MUST(lpo_lora_attach(m, &RANK3, 11, &err));
    const run after = run_small(m, false, NULL);
    cr_assert_arr_eq(before.logp, after.logp, sizeof before.logp);
    cr_assert_eq(m->lora->n, 2 * 7, "q, k, v, o, gate, up, down of two layers");
    const double bound = 1 / 4.0; /* 1/sqrt(16) */
    const float *a = host_of(m->lora->adapters[0].a.data, 0);
    double most = 0;
    for (int k = 0; k < 48; k++) most = fmax(most, fabs((double)a[k]));
    cr_assert(most < bound && most > 0.8 * bound, "%g", most);
    cr_assert_eq(lpo_lora_attach(m, &RANK3, 11, &err), LPO_EINVAL, "twice");
    lpo_model_destroy(m);
    MUST(lpo_dir_remove(dir, &err));
}

/* As model_grad.c: a random direction of each tensor, central differences in f64; the dropout of one seed is
 * part of the function. */
Test(lora, gradient) {
    lpo_error err = {0};
    char *dir = temp_dir();
    make_small(dir, TIED);
    lpo_lora_options rs = RANK3;
    rs.rslora = true;
    lpo_model *m = open_with(dir, "ref", "f64", &rs);
    stir(m);
    MUST(lpo_model_set_trainable(m, "lora", &err));
    MUST(lpo_model_alloc_grads(m, &err));
    const lpo_forward_options o = {.checkpoint = true, .dropout_seed = 5}, kept = {.dropout_seed = 5};
    int n;
    lpo_param *const *p = lpo_model_params(m, &n);
    cr_assert_eq(n, m->layout.n_slots + 28);
    run_small(m, true, &o);
    lpo_rng r = lpo_rng_init(11, 0);
    for (int i = 0; i < n; i++) {
        cr_assert_eq(p[i]->grad != NULL, i >= m->layout.n_slots, "%s", p[i]->name);
        if (!p[i]->grad) continue;
        const size_t count = param_count(p[i]);
        double *x = host_of(p[i]->data, 0), *g = host_of(p[i]->grad, p[i]->grad_offset_bytes), predicted = 0,
               *v = malloc(count * sizeof *v), *saved = malloc(count * sizeof *saved), size = 0;
        memcpy(saved, x, count * sizeof *saved);
        for (size_t k = 0; k < count; k++) {
            v[k] = lpo_rng_normal(&r);
            predicted += v[k] * g[k];
            size += fabs(g[k]);
        }
        const double h = 1e-5;
        for (size_t k = 0; k < count; k++) x[k] = saved[k] + h * v[k];
        const double up = run_small(m, false, &kept).loss;
        for (size_t k = 0; k < count; k++) x[k] = saved[k] - h * v[k];
        const double measured = (up - run_small(m, false, &kept).loss) / (2 * h);
        memcpy(x, saved, count * sizeof *saved);
        cr_expect_lt(fabs(measured - predicted), 1e-6 * (1 + fabs(predicted)),
                     "%s: measured %.12g, gradient %.12g", p[i]->name, measured, predicted);
        cr_expect_gt(size, 1e-6, "%s: the gradient is zero", p[i]->name);
        free(v);
        free(saved);
    }
    lpo_model_destroy(m);
    MUST(lpo_dir_remove(dir, &err));
}

/* Without a seed nothing is dropped; the seed says what is; neither threads nor recomputation show. */
Test(lora, dropout) {
    lpo_error err = {0};
    char *dir = temp_dir();
    make_small(dir, TIED);
    lpo_model *m = open_with(dir, "cpu", "f32", &RANK3);
    stir(m);
    MUST(lpo_model_set_trainable(m, "lora", &err));
    MUST(lpo_model_alloc_grads(m, &err));
    const size_t bytes = m->grads_count * sizeof(float);
    float *first = malloc(bytes);
    const run none = run_small(m, false, NULL),
              a = run_small(m, true, &(lpo_forward_options){.dropout_seed = 5});
    memcpy(first, host_of(m->grads, 0), bytes);
    lpo_kernels_cpu_threads(3);
    const run b = run_small(m, true, &(lpo_forward_options){.dropout_seed = 5, .checkpoint = true});
    lpo_kernels_cpu_threads(0);
    cr_assert_arr_eq(a.logp, b.logp, sizeof a.logp);
    cr_assert_arr_eq(first, host_of(m->grads, 0), bytes);
    const run c = run_small(m, false, &(lpo_forward_options){.dropout_seed = 6});
    cr_assert(memcmp(a.logp, c.logp, sizeof a.logp) && memcmp(a.logp, none.logp, sizeof a.logp));
    free(first);
    lpo_model_destroy(m);
    MUST(lpo_dir_remove(dir, &err));
}

static void answer(int32_t ids[12], lpo_model *m) {
    lpo_error err = {0};
    static small_batch b;
    fill_batch(&b);
    lpo_seq_input seq = b.seqs[0];
    seq.n_ids = seq.n_prompt;
    lpo_gen_seq out = {0};
    lpo_gen_options o = lpo_gen_options_default();
    o.max_tokens = 12;
    uint64_t stream = 0;
    MUST(lpo_generate(&out, m, &(lpo_model_batch){b.clips, &seq, N_CLIPS, 1}, &stream, &o, NULL, NULL, &err));
    for (int i = 0; i < 12; i++) ids[i] = i < out.n_ids ? out.ids[i] : -1;
    lpo_gen_seq_clear(&out);
}

/* W + scale B A computes what W and the adapters do, in training and in generation; what is saved after that
 * is a plain model. */
static void check_merge(const char *config, const lpo_lora_options *o) {
    lpo_error err = {0};
    char *dir = temp_dir(), merged[128], adapter[128];
    make_small(dir, config);
    snprintf(merged, sizeof merged, "%s/merged", dir);
    snprintf(adapter, sizeof adapter, "%s/adapter", dir);
    lpo_model *m = open_with(dir, "cpu", "f32", o), *n;
    const run base = run_small(m, false, NULL);
    stir(m);
    const run with = run_small(m, false, NULL);
    int32_t said[2][12];
    answer(said[0], m);
    MUST(lpo_model_save(m, adapter, NULL, &err));
    cr_assert(fabs(with.loss - base.loss) > 1e-2, "the adapters do nothing");
    MUST(lpo_model_merge(merged, adapter, NULL, NULL, &err));
    MUST(lpo_model_load(&n, merged, NULL, &err));
    cr_assert_null(lpo_lora_of(n));
    const run after = run_small(n, false, NULL);
    for (int64_t i = 0; i < with.n; i++)
        cr_expect(fabs(after.logp[i] - with.logp[i]) < 1e-5, "%.9g, not %.9g", after.logp[i], with.logp[i]);
    answer(said[1], n);
    cr_expect_arr_eq(said[0], said[1], sizeof said[0]);
    lpo_model_destroy(n);
    MUST(lpo_lora_merge(m, &err));
    const run here = run_small(m, false, NULL);
    cr_expect_arr_eq(here.logp, after.logp, sizeof here.logp);
    lpo_model_destroy(m);
    MUST(lpo_dir_remove(dir, &err));
}

Test(lora, merge_tied) {
    check_merge(TIED, &RANK3);
}
Test(lora, merge_some) {
    check_merge(UNTIED,
                &(lpo_lora_options){.r = 5, .alpha = 10, .rslora = true, .targets = "k_proj,layers.1.mlp.*"});
}

Test(lora, merge_first_and_last) {
    check_merge(TIED,
                &(lpo_lora_options){.r = 2, .alpha = 2, .targets = "q_proj,v_proj,up_proj"}); /* scale 1 */
}

/* The same bits after saving and loading, as a folder of its own and given beside the base; the files are
 * PEFT's. */
Test(lora, folder) {
    lpo_error err = {0};
    char *dir = temp_dir(), adapter[128], path[160];
    make_small(dir, TIED);
    snprintf(adapter, sizeof adapter, "%s/adapter", dir);
    lpo_model *m = open_with(dir, "cpu", "f32", &RANK3), *n;
    stir(m);
    const run with = run_small(m, false, NULL);
    MUST(lpo_model_save(m, adapter, NULL, &err));
    for (int way = 0; way < 2; way++) {
        const lpo_model_options o = {.adapter = way ? adapter : NULL};
        MUST(lpo_model_load(&n, way ? dir : adapter, &o, &err));
        const run again = run_small(n, false, NULL);
        cr_expect_arr_eq(with.logp, again.logp, sizeof with.logp);
        cr_expect_eq(lpo_lora_of(n)->r, 3);
        cr_expect_eq(lpo_lora_of(n)->alpha, 6);
        cr_expect_float_eq(lpo_lora_of(n)->dropout, 0.3, 1e-15);
        lpo_model_destroy(n);
    }
    lpo_safetensors *f;
    MUST(lpo_safetensors_open(&f, adapter, &err));
    cr_expect_eq(lpo_safetensors_count(f), 28);
    const lpo_tensor_info *t =
        lpo_safetensors_find(f, "base_model.model.model.language_model.layers.1.mlp.gate_proj.lora_B.weight");
    cr_assert(t && t->shape[0] == 12 && t->shape[1] == 3);
    lpo_safetensors_close(f);
    char *text;
    size_t size;
    snprintf(path, sizeof path, "%s/adapter_config.json", adapter);
    MUST(lpo_file_read(&text, &size, path, 1 << 16, &err));
    cr_expect(
        strstr(text,
               "(?!.*(?:visual|vision)).*\\\\.(?:q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"),
        "%s", text);
    free(text);
    static const char lost[] =
        "{\"base_model_name_or_path\": \"/nowhere\", \"peft_type\": \"LORA\", \"r\": 3}";
    MUST(lpo_file_write(path, lost, strlen(lost), &err)); /* without the base it names */
    cr_expect_neq(lpo_model_load(&n, adapter, NULL, &err), LPO_OK);
    cr_expect(strstr(err.msg, "--adapter"), "%s", err.msg);
    lpo_model_destroy(m);
    MUST(lpo_dir_remove(dir, &err));
}

Test(lora, targets) {
    static const struct {
        const char *targets;
        int n;
    } good[] = {
        {"", 14}, {"q_proj,v_proj", 4}, {"self_attn.o_proj", 2}, {"layers.1.*", 7}, {"*.mlp.*,q_proj", 8}};
    static const char *const bad[] = {"q_prj", "q_proj,lm_head", "proj", "visual.blocks.0.attn.qkv",
                                      "embed_tokens"};
    lpo_error err = {0};
    char *dir = temp_dir();
    make_small(dir, TIED);
    lpo_model *m = open_small(dir, "cpu", "f32");
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        MUST(
            lpo_lora_attach(m, &(lpo_lora_options){.r = 1, .alpha = 1, .targets = good[i].targets}, 1, &err));
        cr_expect_eq(m->lora->n, good[i].n, "%s: %d", good[i].targets, m->lora->n);
        MUST(lpo_lora_merge(m, &err));
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect_eq(lpo_lora_attach(m, &(lpo_lora_options){.r = 1, .alpha = 1, .targets = bad[i]}, 1, &err),
                     LPO_EINVAL, "%s", bad[i]);
        cr_expect_null(lpo_lora_of(m));
    }
    lpo_model_destroy(m);
    MUST(lpo_dir_remove(dir, &err));
}

/* Each line of a good adapter_config.json made bad, and tensors that do not fit. */
Test(lora, refusals) {
    static const struct {
        const char *config, *word;
    } bad[] = {
        {"\"use_dora\":true", "use_dora"},
        {"\"bias\":\"all\"", "bias"},
        {"\"modules_to_save\":[\"lm_head\"]", "modules_to_save"},
        {"\"rank_pattern\":{\"q_proj\":2}", "rank_pattern"},
        {"\"peft_type\":\"LOHA\"", "LOHA"},
        {"\"r\":4", "is not [4"},
        {"\"r\":0", "\"r\""},
        {"\"lora_alpha\":\"x\"", "lora_alpha"},
    };
    lpo_error err = {0};
    char *dir = temp_dir(), adapter[128], path[160], weights[160];
    make_small(dir, TIED);
    snprintf(adapter, sizeof adapter, "%s/adapter", dir);
    snprintf(path, sizeof path, "%s/adapter_config.json", adapter);
    snprintf(weights, sizeof weights, "%s/adapter_model.safetensors", adapter);
    lpo_model *m = open_with(dir, "cpu", "f32", &(lpo_lora_options){.r = 3, .alpha = 6, .targets = "q_proj"});
    MUST(lpo_model_save(m, adapter, NULL, &err));
    MUST(lpo_lora_merge(m, &err));
    for (size_t i = 0; i <= sizeof bad / sizeof *bad; i++) {
        const bool ok = i == sizeof bad / sizeof *bad;
        char text[256];
        const int n =
            snprintf(text, sizeof text, "{%s%s%s%s%s}", ok ? "" : bad[i].config, ok ? "" : ",",
                     !ok && strstr(bad[i].config, "peft_type") ? "" : "\"peft_type\":\"LORA\",",
                     !ok && strstr(bad[i].config, "\"r\"") ? "" : "\"r\":3,",
                     !ok && strstr(bad[i].config, "alpha\"") ? "\"bias\":\"none\"" : "\"lora_alpha\":6");
        MUST(lpo_file_write(path, text, (size_t)n, &err));
        const lpo_status st = lpo_lora_load(m, adapter, &err);
        cr_expect_eq(st == LPO_OK, ok, "%s", text);
        if (!ok) cr_expect(strstr(err.msg, bad[i].word), "%s: %s", bad[i].word, err.msg);
        cr_expect_eq(lpo_lora_of(m) != NULL, ok);
    }
    MUST(lpo_lora_merge(m, &err));
    static const char *const name[] = {"base_model.model.model.layers.9.self_attn.q_proj.lora_A.weight",
                                       "base_model.model.visual.layers.0.self_attn.q_proj.lora_A.weight",
                                       "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"};
    float zero[48] = {0};
    for (int i = 0; i < 3; i++) {
        const lpo_tensor_info t = {name[i], LPO_F32, 2, {3, 16}, zero, sizeof zero, NULL};
        MUST(lpo_safetensors_write(weights, &t, 1, NULL, NULL, &err));
        cr_expect_neq(lpo_lora_load(m, adapter, &err), LPO_OK);
        cr_expect(strstr(err.msg, i < 2 ? name[i] : "lora_B is missing"), "%s", err.msg);
    }
    lpo_model_destroy(m);
    MUST(lpo_dir_remove(dir, &err));
}
