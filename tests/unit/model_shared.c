/* SPDX-License-Identifier: Apache-2.0 */
/* Truths, for every family: chosen and rejected over one computed prompt give the bits they give as two whole
 * sequences; gradients of every tensor are the same up to the order of sums (1e-5 of the largest in f32),
 * with and without a clip, checkpointed or not; the plan needs less memory; threads do not show. */
#include "kernels/cpu/cpu.h"
#include "model/pack.h"
#include "model_tiny.h"

enum { MOST = 2200, RESPONSES = 3 + 5 + 2 + 1 + 4 };

/* A pair over a clip, three answers to a question without one (of which the second is one token), and a
 * sequence with another prompt: its neighbours share, it does not. */
typedef struct pairs {
    lpo_clip_input clip;
    float *patches;
    int32_t ids[6][MOST];
    lpo_seq_input seqs[6];
    lpo_model_batch batch;
} pairs;

static void fill_pairs(pairs *p, const lpo_model *m) {
    static const int32_t n_response[6] = {3, 5, 2, 1, 4, 0};
    const lpo_model_config *c = &m->config;
    const lpo_vision_config *v = &c->vision;
    lpo_rng r = lpo_rng_init(9, 0);
    const int32_t side = v->side ? v->side : 2 * v->merge_size, grid_t = 2;
    const int64_t n = (int64_t)grid_t * side * side * m->layout.patch_w->shape[1];
    p->patches = malloc((size_t)n * sizeof *p->patches);
    for (int64_t i = 0; i < n; i++) p->patches[i] = (float)lpo_rng_normal(&r);
    p->clip = (lpo_clip_input){p->patches, grid_t, side, side, 1, NULL};
    const int32_t rows = (int32_t)lpo_clip_rows(m, &p->clip);
    int32_t word[MOST];
    for (int i = 0; i < MOST; i++) do
            word[i] = (int32_t)lpo_rng_below(&r, (uint64_t)c->vocab_size);
        while (word[i] == c->video_pad_id);
    for (int s = 0; s < 6; s++) {
        const bool video = s < 2;
        int32_t n_ids = 0, *ids = p->ids[s];
        for (int i = 0; i < 4; i++) ids[n_ids++] = word[(s == 5) * 7 + i];
        for (int i = 0; video && i < rows; i++) ids[n_ids++] = c->video_pad_id;
        for (int i = 0; i < 3; i++) ids[n_ids++] = word[20 + i];
        p->seqs[s] = (lpo_seq_input){ids, n_ids + n_response[s], n_ids, video ? 0 : -1};
        for (int i = 0; i < n_response[s]; i++) ids[n_ids++] = word[30 + 10 * s + i];
    }
    p->batch = (lpo_model_batch){&p->clip, p->seqs, 1, 6};
}

typedef struct result {
    float logp[RESPONSES];
    float *grad;
    size_t n_grad, arena_bytes;
} result;

static result run_pairs(lpo_model *m, const pairs *p, const lpo_forward_options *o) {
    lpo_error err = {0};
    result r = {0};
    lpo_tape *t;
    lpo_forward_out out;
    float weight[RESPONSES];
    for (int i = 0; i < RESPONSES; i++) weight[i] = (float)sin(1.7 * i + 0.3);
    MUST(lpo_model_zero_grads(m, &err));
    MUST(lpo_tape_create(&t, lpo_model_placement(m), &err));
    MUST(lpo_model_record(&out, t, m, &p->batch, o, &err));
    cr_assert_eq(out.n_tokens, RESPONSES);
    lpo_tape_backward(t, out.logp, lpo_tape_input(t, LPO_F32, 1, &out.n_tokens, weight));
    MUST(lpo_tape_plan(t, &err));
    MUST(lpo_tape_run(t, 0, -1, &err));
    MUST(lpo_tape_read(r.logp, t, out.logp, &err));
    r.arena_bytes = lpo_tape_arena_bytes(t);
    r.n_grad = m->grads_count;
    r.grad = malloc(r.n_grad * sizeof *r.grad);
    memcpy(r.grad, host_of(m->grads, 0), r.n_grad * sizeof *r.grad);
    lpo_tape_destroy(t);
    return r;
}

static void check(const char *family, const char *config, const char *dtype, double tolerance) {
    lpo_error err = {0};
    char *dir = temp_dir();
    MUST(lpo_model_init(dir, &(lpo_init_options){.family = family, .config = config, .seed = 5}, &err));
    lpo_model *m = open_small(dir, "cpu", dtype);
    MUST(lpo_model_set_trainable(m, "all", &err));
    MUST(lpo_model_alloc_grads(m, &err));
    pairs *p = malloc(sizeof *p);
    fill_pairs(p, m);
    for (int checkpoint = 0; checkpoint < 2; checkpoint++) {
        result alone = run_pairs(m, p, &(lpo_forward_options){.checkpoint = checkpoint, .separate = true});
        result both = run_pairs(m, p, &(lpo_forward_options){.checkpoint = checkpoint});
        cr_expect_arr_eq(alone.logp, both.logp, sizeof both.logp, "%s, %s", family, dtype);
        cr_expect_lt(both.arena_bytes, alone.arena_bytes, "%s: no memory saved", family);
        double largest = 0, far = 0;
        for (size_t i = 0; i < both.n_grad; i++) {
            largest = fmax(largest, fabs((double)alone.grad[i]));
            far = fmax(far, fabs((double)alone.grad[i] - (double)both.grad[i]));
        }
        cr_expect(largest > 1e-3 && far <= tolerance * largest, "%s, %s: gradients differ by %g of %g",
                  family, dtype, far, largest);
        lpo_kernels_cpu_threads(3);
        result more = run_pairs(m, p, &(lpo_forward_options){0});
        lpo_kernels_cpu_threads(0);
        cr_expect_arr_eq(more.grad, both.grad, both.n_grad * sizeof *both.grad,
                         "%s: threads or checkpoints show", family);
        free(alone.grad), free(both.grad), free(more.grad);
    }
    free(p->patches);
    free(p);
    lpo_model_destroy(m);
    MUST(lpo_dir_remove(dir, &err));
}

#define WIDE "\"initializer_range\":0.2"

Test(shared, qwen2_vl_tied) {
    check("qwen2_vl", TIED, "f32", 1e-5);
}
Test(shared, qwen2_vl_untied) {
    check("qwen2_vl", UNTIED, "f32", 1e-5);
}
Test(shared, qwen2_vl_bf16) { /* activations are rounded to 8 bits after each step either way */
    check("qwen2_vl", TIED, "bf16", 3e-2);
}
Test(shared, qwen2_5_vl) {
    check("qwen2_5_vl", "{" WIDE "}", "f32", 1e-5);
}
Test(shared, llava_next_video) {
    check("llava_next_video", "{" WIDE "}", "f32", 1e-5);
}
Test(shared, llava_video) {
    check("llava_video", "{" WIDE "}", "f32", 1e-5);
}

/* What the ops are given: the prompt once, the two answers behind it, positions going on in both. */
Test(shared, layout) {
    lpo_error err = {0};
    char *dir = temp_dir();
    make_small(dir, TIED);
    lpo_model *m = open_small(dir, "cpu", "f32");
    pairs *p = malloc(sizeof *p);
    fill_pairs(p, m);
    lpo_arena *a = lpo_arena_create(1 << 16);
    lpo_packed one, two;
    int32_t take[6];
    for (int s = 0; s < 6; s++) take[s] = p->seqs[s].n_ids - (s < 5);
    take[5] = 0;
    MUST(lpo_pack(&one, a, m, &p->batch, take, true, &err));
    MUST(lpo_pack(&two, a, m, &p->batch, take, false, &err));
    const int32_t video = p->seqs[0].n_prompt, text = p->seqs[2].n_prompt;
    cr_assert_eq(one.n_rows, video + 2 + 4 + text + 1 + 0 + 3);
    cr_assert_eq(two.n_rows, 2 * video + 2 + 4 + 3 * text + 1 + 0 + 3);
    const int32_t cu[] = {
        0, video, video + 2, video + 6, video + 6 + text, video + 7 + text, video + 10 + text};
    cr_assert_eq(one.n_runs, 6, "an answer of one token needs no run");
    cr_assert_arr_eq(one.cu, cu, sizeof cu);
    cr_assert_eq(two.prefix, NULL);
    const int32_t prefix[] = {0, 0, 0, video, 0, video, 0, 0, cu[3], text, cu[3], text};
    for (int i = 0; i < 6; i++) {
        cr_assert_eq(one.prefix[2 * i + 1], prefix[2 * i + 1], "run %d", i);
        if (prefix[2 * i + 1]) cr_assert_eq(one.prefix[2 * i], prefix[2 * i], "run %d", i);
    }
    const int half = m->config.block.d_head / 2;
    for (int s = 0; s < 5; s++)
        for (int32_t i = 0; i < take[s]; i++) {
            const int32_t x = lpo_packed_row(&one, s, i), y = lpo_packed_row(&two, s, i);
            cr_assert_eq(one.ids[x], two.ids[y]);
            cr_assert_arr_eq(one.cos + (size_t)x * half, two.cos + (size_t)y * half, half * sizeof(float));
            cr_assert_eq(one.mix[x] < one.n_rows, two.mix[y] < two.n_rows);
            if (one.mix[x] >= one.n_rows) cr_assert_eq(one.mix[x] - one.n_rows, two.mix[y] - two.n_rows);
        }
    /* A prompt that is refused alone is refused in company: the last token of the second answer. */
    p->ids[1][p->seqs[1].n_ids - 1] = 24;
    cr_assert_eq(lpo_pack(&one, a, m, &p->batch, take, true, &err), LPO_EINVAL);
    cr_assert(strstr(err.msg, "sequence 1"), "%s", err.msg);
    lpo_arena_destroy(a);
    free(p->patches);
    free(p);
    lpo_model_destroy(m);
    MUST(lpo_dir_remove(dir, &err));
}
