/* SPDX-License-Identifier: Apache-2.0 */
/* Truths: every form of config.json in circulation gives the same model; fields a re-save left out have the
 * class's defaults; anything absurd, contradictory or unsupported is refused with the key's name. */
#include "model/config.h"

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

Test(config, hostile) {
    static const char *const cases[][2] = {
        {"{}", "model_type"},
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
