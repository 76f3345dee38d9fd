/* SPDX-License-Identifier: Apache-2.0 */
/* Truth: the prompts LLaVA's own code writes. LLaVA-Video: text cut at "<image>", rows with their newlines in
 * between, the sentence about time in front of the question, "qwen_1_5" around it. LLaVA-NeXT-Video: <s> in
 * front, Vicuna's words, the clip's rows for <video>, </s> behind an answer. */
#include "base/file.h"
#include "data/loader.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char dir[64];

static void set_up(void) {
    snprintf(dir, sizeof dir, "/tmp/leanpo-recipe-XXXXXX");
    cr_assert(mkdtemp(dir));
}

static void tear_down(void) {
    lpo_dir_remove(dir, NULL);
}
TestSuite(recipe, .init = set_up, .fini = tear_down);

static void put(const char *name, const char *text, size_t n) {
    char path[128];
    lpo_error err = {0};
    snprintf(path, sizeof path, "%s/%s", dir, name);
    cr_assert_eq(lpo_file_write(path, text, n, &err), LPO_OK, "%s", err.msg);
}

/* A folder with this config and one of the golden tokenizers. */
static void open_folder(lpo_recipe *r, const char *config, const char *tokenizer) {
    char path[512], *text;
    size_t n;
    lpo_error err = {0};
    snprintf(path, sizeof path, TESTS_DIR "/golden/tokenizer/%s/tokenizer.json", tokenizer);
    cr_assert_eq(lpo_file_read(&text, &n, path, 1 << 22, &err), LPO_OK, "%s", err.msg);
    put("tokenizer.json", text, n);
    free(text);
    put("config.json", config, strlen(config));
    cr_assert_eq(lpo_recipe_open(r, dir, NULL, NULL, &err), LPO_OK, "%s", err.msg);
}

static void append(lpo_ids *ids, const lpo_recipe *r, const char *text) {
    lpo_error err = {0};
    cr_assert_eq(lpo_tokenizer_encode(ids, r->tokenizer, text, strlen(text), &err), LPO_OK, "%s", err.msg);
}

static void repeat(lpo_ids *ids, int32_t id, int times) {
    lpo_error err = {0};
    for (int i = 0; i < times; i++) cr_assert_eq(lpo_ids_push(ids, id, &err), LPO_OK);
}

static void check_prompt(const lpo_recipe *r, const lpo_ids *want) {
    static double times[2] = {0, 1.5};
    const lpo_clip clip = {
        .n_frames = 2, .grid_t = 2, .grid_h = 4, .grid_w = 4, .duration_s = 3, .time_s = times};
    lpo_error err = {0};
    lpo_ids have = {0};
    cr_assert_eq(lpo_recipe_prompt(&have, r, "What happens?", &clip, &err), LPO_OK, "%s", err.msg);
    cr_assert_eq(have.n, want->n, "%zu ids, not %zu", have.n, want->n);
    cr_assert_arr_eq(have.ids, want->ids, want->n * sizeof *want->ids);
    lpo_ids_clear(&have);
}

#define SMALL "\"vision_config\":{\"patch_size\":14,\"image_size\":56}}"

Test(recipe, llava_video) {
    lpo_recipe r;
    lpo_ids want = {0};
    open_folder(
        &r,
        "{\"model_type\":\"llava_qwen\",\"mm_newline_position\":\"grid\",\"add_time_instruction\":true,"
        "\"image_token_index\":7," SMALL,
        "qwen");
    append(&want, &r, "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n");
    repeat(&want, 7, 2 * 2 * 3);
    append(
        &want, &r,
        "\nThe video lasts for 3.00 seconds, and 2 frames are uniformly sampled from it. These frames are "
        "located at "
        "0.00s,1.50s.Please answer the following questions related to this video.\nWhat happens?<|im_end|>\n"
        "<|im_start|>assistant\n");
    check_prompt(&r, &want);
    cr_expect_eq(r.eos_id, lpo_tokenizer_id(r.tokenizer, "<|im_end|>"));
    lpo_ids_clear(&want);
    lpo_recipe_close(&r);
}

Test(recipe, llava_next_video) {
    lpo_recipe r;
    lpo_ids want = {0};
    open_folder(&r,
                "{\"model_type\":\"llava_next_video\",\"text_config\":{\"max_position_embeddings\":4096,"
                "\"rope_scaling\":"
                "{\"type\":\"linear\",\"factor\":2.5}}," SMALL,
                "llama");
    repeat(&want, 1, 1);
    append(&want, &r, "USER: ");
    repeat(&want, lpo_tokenizer_id(r.tokenizer, "<video>"), 2 * 2 * 2);
    append(&want, &r, "\nWhat happens? ASSISTANT:");
    check_prompt(&r, &want);
    cr_expect_eq(r.eos_id, 2);
    cr_expect_eq(r.max_positions, 10240);
    lpo_ids_clear(&want);
    lpo_recipe_close(&r);
}

/* Text that spells the placeholder would be taken for a clip. */
Test(recipe, placeholders_in_text_are_refused) {
    lpo_recipe r;
    lpo_error err = {0};
    lpo_ids ids = {0};
    open_folder(&r, "{\"model_type\":\"llava_qwen\",\"image_token_index\":7," SMALL, "qwen");
    cr_expect_eq(lpo_recipe_prompt(&ids, &r, "What is an <image>?", NULL, &err), LPO_EFORMAT);
    cr_expect(strstr(err.msg, "must not spell"), "%s", err.msg);
    lpo_ids_clear(&ids);
    lpo_recipe_close(&r);
}
