/* SPDX-License-Identifier: Apache-2.0 */
/* Truths: every form of config.json in circulation gives the same model; fields a re-save left out have the
 * class's defaults; anything absurd, contradictory or unsupported is refused with the key's name. */
#include "model/family.h"
#include "model/pack.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static lpo_status parse(lpo_model_config *c, const char *text, lpo_error *err) {
    json_t *j;
    lpo_status st = lpo_json_parse(&j, text, strlen(text), "test", err);
    cr_assert_eq(st, LPO_OK, "%s", err->msg);
    st = lpo_config_parse(c, j, "config.json", err);
    json_decref(j);
    return st;
}

#define TEXT                                                                                                 \
    "\"hidden_size\":1536,\"intermediate_size\":8960,\"num_hidden_layers\":28,\"num_attention_heads\":12,"   \
    "\"num_key_value_heads\":2,\"vocab_size\":151936,\"rms_norm_eps\":1e-6,\"max_position_embeddings\":"     \
    "32768"
#define VISION "\"vision_config\":{\"hidden_size\":1536,\"in_chans\":3,\"spatial_patch_size\":14}"
#define ROPE   "\"rope_scaling\":{\"type\":\"mrope\",\"mrope_section\":[16,24,24]}"
#define HEAD   "{\"model_type\":\"qwen2_vl\","

/* Flat (as published), nested, newer rope_parameters: one struct. */
Test(config, forms_are_equal) {
    static const char *const forms[] = {
        HEAD TEXT "," VISION "," ROPE
                  ",\"rope_theta\":1000000.0,\"tie_word_embeddings\":true,\"eos_token_id\":151645}",
        HEAD VISION ",\"text_config\":{" TEXT "," ROPE
                    ",\"tie_word_embeddings\":true,\"eos_token_id\":151645}}",
        HEAD VISION
        ",\"tie_word_embeddings\":true,\"text_config\":{\"tie_word_embeddings\":false,\"eos_token_id\":"
        "[151645]," TEXT
        ",\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":1e6,\"mrope_section\":[16,24,24]}}}",
        HEAD VISION "," TEXT ",\"tie_word_embeddings\":true,\"eos_token_id\":151645,\"rope_scaling\":null}"};
    lpo_model_config first, c;
    lpo_error err = {0};
    cr_assert_eq(parse(&first, forms[0], &err), LPO_OK, "%s", err.msg);
    for (int i = 1; i < 4; i++) {
        cr_assert_eq(parse(&c, forms[i], &err), LPO_OK, "%s", err.msg);
        cr_assert_arr_eq(&c, &first, sizeof c, "form %d", i);
    }
    cr_assert_eq(first.block.d_head, 128);
    cr_assert_eq(first.vision.block.d_ff, 5120);
    cr_assert_eq(first.vision.block.d_head, 80);
    cr_assert_eq(first.rope_theta, 1e6);
    cr_assert_eq(first.tied, 1);
    cr_assert_eq(first.video_pad_id, 151656);
    cr_assert_eq(first.n_eos, 1);
}

/* The class defaults of model_type qwen2_vl. */
Test(config, defaults) {
    lpo_model_config c;
    lpo_error err = {0};
    cr_assert_eq(parse(&c, HEAD "\"vision_config\":{\"hidden_size\":8192}}", &err), LPO_OK, "%s", err.msg);
    cr_assert_eq(c.block.d_model, 8192);
    cr_assert_eq(c.block.d_ff, 29568);
    cr_assert_eq(c.n_layers, 80);
    cr_assert_eq(c.block.n_q, 64);
    cr_assert_eq(c.block.n_kv, 8);
    cr_assert_eq(c.vocab_size, 152064);
    cr_assert_eq(c.block.eps, 1e-5);
    cr_assert_eq(c.rope_theta, 1e6);
    cr_assert_eq(c.tied, -1);
    cr_assert_eq(c.vision.depth, 32);
    cr_assert_eq(c.vision.block.d_model, 1280);
    cr_assert_eq(c.vision.block.act, LPO_ACT_QUICK_GELU);
    cr_assert_eq(c.max_positions, 32768);
}

#define EXPECT(value, want) cr_expect_eq(value, want, "%s is %g", #value, (double)(value))

/* Qwen2.5-VL's classes: a clock of 4 (checkpoints say 2), text eps 1e-5 (checkpoints say 1e-6), a text width
 * that its tower's must match. */
Test(config, qwen2_5_vl_defaults_and_traps) {
    lpo_model_config c;
    lpo_error err = {0};
    cr_assert_eq(
        parse(&c, "{\"model_type\":\"qwen2_5_vl\",\"vision_config\":{\"out_hidden_size\":8192}}", &err),
        LPO_OK, "%s", err.msg);
    EXPECT(c.tokens_per_second, 4);
    EXPECT(c.block.eps, 1e-5);
    EXPECT(c.vision.block.d_model, 3584);
    EXPECT(c.vision.block.d_ff, 3420);
    EXPECT(c.vision.window, 4);
    EXPECT(c.whole_seconds, 0);
    cr_expect(c.vision.block.rms && c.vision.block.act == LPO_ACT_SILU_MUL && c.vision.block.mlp_bias);
    for (int i = 0; i < 32; i++) EXPECT(c.vision.full[i], i == 7 || i == 15 || i == 23 || i == 31);
    /* As published: flat, in_chans, its own clock and eps. */
    cr_assert_eq(
        parse(&c,
              "{\"model_type\":\"qwen2_5_vl\",\"hidden_size\":3584,\"intermediate_size\":18944,"
              "\"num_hidden_layers\":28,\"num_attention_heads\":28,\"num_key_value_heads\":4,"
              "\"rms_norm_eps\":1e-6,\"second_per_grid_as_integer\":true,\"vision_config\":{\"depth\":32,"
              "\"hidden_size\":1280,\"in_chans\":3,\"out_hidden_size\":3584,\"tokens_per_second\":2,"
              "\"spatial_patch_size\":14}," ROPE "}",
              &err),
        LPO_OK, "%s", err.msg);
    EXPECT(c.tokens_per_second, 2);
    EXPECT(c.block.eps, 1e-6);
    EXPECT(c.whole_seconds, 1);
    EXPECT(c.vision.block.d_head, 80);
}

/* At 5 frames a second two frames are 0.4 s: positions move by floor(0.4 i * 2); older transformers cut 0.4
 * to 0. */
Test(config, time_positions) {
    static const int32_t want[2][5] = {{0, 0, 1, 2, 3}, {0, 0, 0, 0, 0}};
    lpo_model m = {0};
    lpo_error err = {0};
    cr_assert_eq(parse(&m.config,
                       "{\"model_type\":\"qwen2_5_vl\",\"vision_config\":{\"out_hidden_size\":8192,"
                       "\"tokens_per_second\":2}}",
                       &err),
                 LPO_OK);
    const lpo_clip_input clip = {NULL, 5, 2, 4, 0.4, NULL};
    for (int cut = 0; cut < 2; cut++) {
        int32_t pos[3 * 13];
        m.config.whole_seconds = cut;
        const int32_t next = lpo_positions(pos, &m, 13, 2, &clip);
        for (int t = 0; t < 5; t++) {
            EXPECT(pos[3 * (2 + 2 * t)], 2 + want[cut][t]);
            EXPECT(pos[3 * (3 + 2 * t) + 2], 3);
        }
        EXPECT(pos[3 * 12], 2 + (want[cut][4] + 1 > 2 ? want[cut][4] + 1 : 2)); /* max + 1 */
        EXPECT(next, pos[3 * 12] + 1);
    }
}

/* LLaVA's: towers with their classes' defaults, or the composite's when there is no vision_config at all; a
 * tower that is only named; every newline. */
Test(config, llava_defaults) {
    lpo_model_config c;
    lpo_error err = {0};
    cr_assert_eq(parse(&c, "{\"model_type\":\"llava_next_video\"}", &err), LPO_OK, "%s", err.msg);
    EXPECT(c.vision.block.d_model, 1024);
    EXPECT(c.vision.side, 24);
    EXPECT(c.vision.depth, 24);
    EXPECT(c.vision.n_run, 23);
    EXPECT(c.vision.block.eps, 1e-5);
    EXPECT(c.block.n_kv, 32);
    EXPECT(c.block.eps, 1e-6);
    EXPECT(c.rope_theta, 1e4);
    EXPECT(c.block.qkv_bias, 0);
    EXPECT(c.video_pad_id, -1); /* 32000 lies outside the class's vocabulary of 32000 */
    EXPECT(lpo_clip_rule_tokens(&c.clip, 16, 24, 24), 16 * 144);
    cr_assert_eq(
        parse(&c,
              "{\"model_type\":\"llava_next_video\",\"vision_config\":{\"model_type\":\"clip_vision_model\"},"
              "\"text_config\":{\"vocab_size\":32064,\"max_position_embeddings\":4096,"
              "\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.5}}}",
              &err),
        LPO_OK, "%s", err.msg);
    EXPECT(c.vision.block.d_model, 768);
    EXPECT(c.vision.patch_size, 32);
    EXPECT(c.rope_factor, 2.5);
    EXPECT(c.max_positions, 10240);
    EXPECT(c.video_pad_id, 32000);
    static const char *const newline[] = {"no_token", "grid", "frame", "one_token"};
    static const int64_t tokens[] = {2 * 196, 2 * 210, 2 * 197, 2 * 196 + 1};
    for (int i = 0; i < 4; i++) {
        char text[300];
        snprintf(text, sizeof text,
                 "{\"model_type\":\"llava_qwen\",\"mm_vision_tower\":\"google/siglip-so400m-patch14-384\","
                 "\"mm_newline_position\":\"%s\",\"image_token_index\":151646}",
                 newline[i]);
        cr_assert_eq(parse(&c, text, &err), LPO_OK, "%s", err.msg);
        EXPECT(c.vision.side, 27);
        EXPECT(c.vision.n_run, 26);
        EXPECT(c.video_pad_id, 151646);
        EXPECT(lpo_clip_rule_tokens(&c.clip, 2, 27, 27), tokens[i]);
    }
}

Test(config, hostile) {
    static const char *const cases[][2] = {
        {"{}", "model_type"},
        {"{\"model_type\":\"qwen2_5_vl\"}", "out_hidden_size"},
        {"{\"model_type\":\"qwen2_5_vl\",\"vision_config\":{\"window_size\":20}}", "window_size"},
        {"{\"model_type\":\"qwen2_5_vl\",\"vision_config\":{\"fullatt_block_indexes\":[-1],\"out_hidden_"
         "size\":8192}}",
         "fullatt_block_indexes"},
        {"{\"model_type\":\"llava_next_video\",\"vision_feature_layer\":-30}", "vision_feature_layer"},
        {"{\"model_type\":\"llava_next_video\",\"vision_feature_layer\":[-2,-3]}", "vision_feature_layer"},
        {"{\"model_type\":\"llava_next_video\",\"vision_feature_select_strategy\":\"full\"}",
         "select_strategy"},
        {"{\"model_type\":\"llava_next_video\",\"spatial_pool_mode\":\"max\"}", "spatial_pool_mode"},
        {"{\"model_type\":\"llava_next_video\",\"text_config\":{\"model_type\":\"mistral\"}}", "mistral"},
        {"{\"model_type\":\"llava_next_video\",\"text_config\":{\"rope_scaling\":{\"type\":\"yarn\"}}}",
         "yarn"},
        {"{\"model_type\":\"llava_next_video\",\"vision_config\":{\"model_type\":\"dinov2\"}}",
         "vision_config"},
        {"{\"model_type\":\"llava_qwen\",\"mm_vision_tower\":\"openai/clip\"}", "mm_vision_tower"},
        {"{\"model_type\":\"llava_qwen\",\"mm_newline_position\":\"row\"}", "mm_newline_position"},
        {"{\"model_type\":\"llava_qwen\",\"mm_projector_type\":\"linear\"}", "mm_projector_type"},
        {"{\"model_type\":\"llava_qwen\",\"add_faster_video\":true}", "add_faster_video"},
        {"[]", "object"},
        {"{\"model_type\":\"llama\"}", "llama"},
        {"{\"model_type\":7}", "model_type"},
        {HEAD "\"text_config\":3}", "text_config"},
        {HEAD "\"vision_config\":[],\"hidden_size\":8192}", "vision_config"},
        {HEAD "\"hidden_size\":0}", "hidden_size"},
        {HEAD "\"hidden_size\":-8}", "hidden_size"},
        {HEAD "\"hidden_size\":1e3}", "hidden_size"},
        {HEAD "\"hidden_size\":\"8192\"}", "hidden_size"},
        {HEAD "\"hidden_size\":4611686018427387904}", "hidden_size"},
        {HEAD "\"num_hidden_layers\":2000000000}", "num_hidden_layers"},
        {HEAD "\"vocab_size\":1000000000}", "vocab_size"},
        {HEAD "\"num_attention_heads\":3}", "num_attention_heads"},
        {HEAD "\"num_key_value_heads\":5}", "num_key_value_heads"},
        {HEAD "\"rms_norm_eps\":-1}", "rms_norm_eps"},
        {HEAD "\"rms_norm_eps\":\"tiny\"}", "rms_norm_eps"},
        {HEAD "\"hidden_act\":\"relu\"}", "hidden_act"},
        {HEAD "\"hidden_act\":\"gelu\"}", "hidden_act"},
        {HEAD "\"head_dim\":64}", "head_dim"},
        {HEAD "\"use_sliding_window\":true}", "use_sliding_window"},
        {HEAD "\"rope_scaling\":{\"type\":\"yarn\"}}", "yarn"},
        {HEAD "\"rope_scaling\":{\"mrope_section\":[16,24]}}", "mrope_section"},
        {HEAD "\"rope_scaling\":{\"mrope_section\":[16,24,25]}}", "mrope_section"},
        {HEAD "\"rope_scaling\":{\"mrope_section\":[64,64,-64]}}", "mrope_section"},
        {HEAD "\"rope_scaling\":{\"mrope_section\":\"16\"}}", "mrope_section"},
        {HEAD "\"rope_theta\":0}", "rope_theta"},
        {HEAD "\"tie_word_embeddings\":\"yes\"}", "tie_word_embeddings"},
        {HEAD "\"vision_config\":{\"hidden_size\":4096}}", "hidden_size"},
        {HEAD "\"vision_config\":{\"hidden_size\":8192,\"num_heads\":7}}", "num_heads"},
        {HEAD "\"vision_config\":{\"hidden_size\":8192,\"mlp_ratio\":1e9}}", "mlp_ratio"},
        {HEAD "\"vision_config\":{\"hidden_size\":8192,\"patch_size\":[14,14]}}", "patch_size"},
        {HEAD "\"vision_config\":{\"hidden_size\":8192,\"spatial_merge_size\":0}}", "spatial_merge_size"},
        {HEAD "\"vision_config\":{\"hidden_size\":8192,\"hidden_act\":\"silu\"}}", "hidden_act"},
        {HEAD "\"vision_config\":{\"hidden_size\":8192},\"video_token_id\":152064}", "video_token_id"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lpo_model_config c;
        lpo_error err = {0};
        cr_expect_neq(parse(&c, cases[i][0], &err), LPO_OK, "accepted: %s", cases[i][0]);
        cr_expect(strstr(err.msg, cases[i][1]), "%s: \"%s\" does not name %s", cases[i][0], err.msg,
                  cases[i][1]);
    }
}
