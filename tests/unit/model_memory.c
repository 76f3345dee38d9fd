/* SPDX-License-Identifier: Apache-2.0 */
/* Truth: a folder that holds config.json alone tells its parameters (the public counts, computed from the
 * published shapes) and what a run would allocate; a real run of a small model allocates exactly that. */
#include "model/parts.h"
#include "model_tiny.h"

static void write_config(const char *dir, const char *family, const char *size) {
    lpo_error err = {0};
    json_t *j;
    char path[256];
    MUST(lpo_dir_create(dir, &err));
    MUST(lpo_config_of_size(&j, lpo_family_named(family), size, NULL, &err));
    json_object_del(j, "tie_word_embeddings"); /* a class default: public configs may leave it out */
    if (!strcmp(size, "2b")) json_object_set_new(j, "tie_word_embeddings", json_true());
    snprintf(path, sizeof path, "%s/config.json", dir);
    MUST(lpo_json_save(j, path, &err));
    json_decref(j);
}

/* tokens: of 16 frames of 448x448, or of LLaVA's own size. lora: rank 64 on q, k, v, o, gate, up, down. */
static void check_size(const char *family, const char *size, int64_t params, int64_t tokens, int64_t lora) {
    lpo_error err = {0};
    static char *root;
    char dir[128];
    lpo_model_info info;
    lpo_model_memory m, all;
    if (!root) root = temp_dir();
    snprintf(dir, sizeof dir, "%s/%s", root, family);
    write_config(dir, family, size);
    MUST(lpo_model_peek(&info, dir, &err));
    cr_expect_eq(info.n_params, params, "%s: %lld", family, (long long)info.n_params);
    cr_expect_str_eq(info.family, family);
    lpo_memory_options o = lpo_memory_options_default();
    MUST(lpo_model_get_memory(&all, dir, &o, &err));
    o.gradient_checkpointing = 1;
    MUST(lpo_model_get_memory(&m, dir, &o, &err));
    cr_expect_gt(all.train.activations, 4 * m.train.activations);
    cr_expect_eq(m.n_video, tokens, "%s: %lld tokens", family, (long long)m.n_video);
    cr_expect_eq(m.lora_values, lora, "%s: %lld values", family, (long long)m.lora_values);
    cr_expect_eq(m.inference.weights, 2 * params);
    cr_expect_eq(m.lora.total,
                 m.lora.weights + m.lora.grads + m.lora.optimizer + m.lora.activations + m.lora.host);
    cr_expect_gt(m.train.activations, m.inference.activations);
    fprintf(stderr, "%s %s: train %.1f GiB (activations %.2f), LoRA %.1f (%.2f), inference %.1f (%.2f)\n",
            family, size, (double)m.train.total / (1 << 30), (double)m.train.activations / (1 << 30),
            (double)m.lora.total / (1 << 30), (double)m.lora.activations / (1 << 30),
            (double)m.inference.total / (1 << 30), (double)m.inference.activations / (1 << 30));
    MUST(lpo_dir_remove(dir, &err));
}

Test(memory, public_sizes_from_config_alone) {
    /* 28 layers of q 1536x1536, k and v 256x1536, o 1536x1536, gate, up and down 8960x1536 */
    const int64_t lora_2b = 64LL * 28 * (2 * (1536 + 1536) + 2 * (256 + 1536) + 3 * (8960 + 1536));
    const int64_t lora_7b = 64LL * 28 * (2 * (3584 + 3584) + 2 * (512 + 3584) + 3 * (18944 + 3584));
    const int64_t lora_vicuna = 64LL * 32 * (4 * (4096 + 4096) + 3 * (11008 + 4096));
    check_size("qwen2_vl", "2b", 2208985600, 8 * 16 * 16, lora_2b);
    check_size("qwen2_5_vl", "7b", 8292166656, 8 * 16 * 16, lora_7b);
    check_size("llava_next_video", "7b", 7063431168, 16 * 144, lora_vicuna);
    check_size("llava_video", "7b", 8030348832, 16 * 210, lora_7b);
}

/* What is planned on paper is what a device is asked for. */
Test(memory, paper_is_as_large_as_the_real_thing) {
    static const char *const families[] = {"qwen2_vl", "qwen2_5_vl", "llava_next_video", "llava_video"};
    lpo_error err = {0};
    char *root = temp_dir(), dir[128];
    for (size_t f = 0; f < 4; f++) {
        snprintf(dir, sizeof dir, "%s/%s", root, families[f]);
        MUST(
            lpo_model_init(dir, &(lpo_init_options){.family = families[f], .size = "tiny", .seed = 2}, &err));
        const lpo_memory_options o = {.dtype = "f32",
                                      .n_frames = 4,
                                      .height = 112,
                                      .width = 112,
                                      .n_prompt = 5,
                                      .n_response = 7,
                                      .n_pairs = 2,
                                      .lora_rank = 4,
                                      .gradient_checkpointing = 1};
        lpo_model_memory want;
        MUST(lpo_model_get_memory(&want, dir, &o, &err));
        lpo_model *m = open_small(dir, "cpu", "f32");
        MUST(lpo_model_set_trainable(m, "all", &err));
        MUST(lpo_model_alloc_grads(m, &err));
        int n;
        lpo_param *const *p = lpo_model_params(m, &n);
        size_t weights = 0;
        for (int i = 0; i < n; i++) weights += lpo_buffer_bytes(p[i]->data);
        cr_expect_eq((int64_t)weights, want.train.weights, "%s", families[f]);
        /* every gradient stands on a border of 64 bytes */
        const int64_t grads = (int64_t)lpo_buffer_bytes(m->grads);
        cr_expect(grads >= want.train.grads && grads < want.train.grads + 64 * n, "%s", families[f]);
        /* the same batch for real */
        const lpo_vision_config *v = &m->config.vision;
        const int32_t side = v->side ? v->side : 112 / v->patch_size;
        lpo_clip_input clip[2];
        int32_t ids[512];
        lpo_seq_input seqs[4];
        static const float levels[3 * 256];
        uint8_t *patches = calloc((size_t)(4 * side * side) * (size_t)m->layout.patch_w->shape[1], 1);
        for (int i = 0; i < 2; i++)
            clip[i] = (lpo_clip_input){patches, 4 / v->temporal_patch, side, side, 1, levels};
        cr_assert_leq(want.n_sequence, 512);
        for (int i = 0; i < want.n_sequence; i++) ids[i] = i < want.n_video ? m->config.video_pad_id : 3;
        for (int i = 0; i < 4; i++)
            seqs[i] = (lpo_seq_input){ids, (int32_t)want.n_sequence, (int32_t)want.n_video + 5, i / 2};
        const lpo_model_batch batch = {clip, seqs, 2, 4};
        lpo_tape *t;
        lpo_forward_out out;
        MUST(lpo_tape_create(&t, lpo_model_placement(m), &err));
        MUST(lpo_model_record(&out, t, m, &batch,
                              &(lpo_forward_options){.checkpoint = true, .want_stats = true}, &err));
        lpo_tape_backward(t, out.logp, lpo_tape_input(t, LPO_F32, 1, &out.n_tokens, NULL));
        MUST(lpo_tape_plan(t, &err));
        cr_expect_eq((int64_t)lpo_tape_arena_bytes(t), want.train.activations, "%s", families[f]);
        lpo_tape_destroy(t);
        lpo_model_destroy(m);
        free(patches);
        MUST(lpo_dir_remove(dir, &err));
    }
}

/* Nonsense is refused, and so is a batch longer than the context. */
Test(memory, refuses) {
    lpo_error err = {0};
    char *root = temp_dir(), dir[128];
    lpo_model_memory m;
    snprintf(dir, sizeof dir, "%s/x", root);
    write_config(dir, "qwen2_vl", "2b");
    lpo_memory_options o = lpo_memory_options_default();
    o.n_frames = 0;
    cr_expect_eq(lpo_model_get_memory(&m, dir, &o, &err), LPO_EINVAL);
    o = lpo_memory_options_default();
    o.n_frames = 768;
    cr_expect_eq(lpo_model_get_memory(&m, dir, &o, &err), LPO_ELIMIT);
    cr_expect(strstr(err.msg, "max_position_embeddings"), "%s", err.msg);
    o = lpo_memory_options_default();
    o.dtype = "int4";
    cr_expect_eq(lpo_model_get_memory(&m, dir, &o, &err), LPO_EINVAL);
    cr_expect_eq(lpo_model_get_memory(&m, "/nowhere", NULL, &err), LPO_ENOTFOUND);
    MUST(lpo_dir_remove(dir, &err));
}
