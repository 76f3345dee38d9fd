/* SPDX-License-Identifier: Apache-2.0 */
/* Truth: `transformers`' Qwen2-VL gives these log-probabilities for this folder, which it saved itself
 * (tests/golden/qwen2_vl.py wrote both). Covers the newer nested config.json, bf16 on disk, patches, 2-D and
 * M-RoPE, per-frame attention, grouped heads, the merger, the splice, a sequence without video, clips named
 * out of order. */
#include "model/model.h"
#include "tensor/safetensors.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define DIR TESTS_DIR "/golden/qwen2_vl/"

static const lpo_tensor_info *get(lpo_safetensors *f, const char *name, int i) {
    char full[32];
    snprintf(full, sizeof full, "%s%d", name, i);
    const lpo_tensor_info *t = lpo_safetensors_find(f, full);
    cr_assert(t, "%s", full);
    return t;
}

/* Largest difference from the golden. */
static double worst(const char *place, const char *dtype, bool checkpoint) {
    lpo_error err = {0};
    lpo_model *m;
    lpo_safetensors *f;
    lpo_tape *t;
    cr_assert_eq(lpo_safetensors_open(&f, DIR "case.safetensors", &err), LPO_OK, "%s", err.msg);
    cr_assert_eq(lpo_model_load(&m, DIR "model", &(lpo_model_options){.place = place, .dtype = dtype}, &err),
                 LPO_OK, "%s", err.msg);
    lpo_clip_input clips[3];
    lpo_seq_input seqs[4];
    const int32_t *clip_of = lpo_safetensors_find(f, "clip_of")->data;
    for (int i = 0; i < 3; i++) {
        const int32_t *g = get(f, "grid", i)->data;
        clips[i] = (lpo_clip_input){get(f, "clip", i)->data, g[0], g[1], g[2], 1.0, NULL};
    }
    for (int i = 0; i < 4; i++) {
        const lpo_tensor_info *ids = get(f, "ids", i);
        seqs[i] = (lpo_seq_input){ids->data, (int32_t)ids->shape[0],
                                  *(const int32_t *)get(f, "prompt", i)->data, clip_of[i]};
    }
    const lpo_model_batch batch = {clips, seqs, 3, 4};
    cr_assert_eq(lpo_model_set_trainable(m, "all", &err), LPO_OK);
    cr_assert_eq(lpo_tape_create(&t, lpo_model_placement(m), &err), LPO_OK, "%s", err.msg);
    lpo_forward_out out;
    cr_assert_eq(lpo_model_record(&out, t, m, &batch,
                                  &(lpo_forward_options){.checkpoint = checkpoint, .want_stats = true}, &err),
                 LPO_OK, "%s", err.msg);
    cr_assert_eq(lpo_tape_plan(t, &err), LPO_OK, "%s", err.msg);
    cr_assert_eq(lpo_tape_run(t, 0, -1, &err), LPO_OK, "%s", err.msg);
    double logp[64], far = 0;
    cr_assert_leq(out.n_tokens, 64);
    cr_assert_eq(lpo_tape_read(logp, t, out.logp, &err), LPO_OK, "%s", err.msg);
    const int32_t type = lpo_val_dtype(t, out.logp);
    int64_t n = 0;
    for (int i = 0; i < 4; i++) {
        const lpo_tensor_info *want = get(f, "logp", i);
        for (int64_t k = 0; k < want->shape[0]; k++, n++) {
            double have = type == LPO_F64 ? logp[n] : (double)((float *)logp)[n];
            far = fmax(far, fabs(have - ((const double *)want->data)[k]));
        }
    }
    cr_assert_eq(n, out.n_tokens);
    lpo_tape_destroy(t);
    lpo_model_destroy(m);
    lpo_safetensors_close(f);
    return far;
}

/* Log-probabilities here reach -9; float32 on both sides leaves some 1e-6. */
Test(golden, cpu_f32) {
    cr_assert_lt(worst("cpu", "f32", false), 1e-4);
}
Test(golden, ref_f32) {
    cr_assert_lt(worst("ref", "f32", false), 1e-4);
}
/* The remaining difference is the golden's own float32. */
Test(golden, ref_f64) {
    cr_assert_lt(worst("ref", "f64", true), 1e-4);
}
/* bf16 keeps 8 bits: activations are off by 2^-9 relative at every one of some 30 roundings. */
Test(golden, cpu_bf16) {
    cr_assert_lt(worst("cpu", "bf16", false), 0.5);
}
