/* SPDX-License-Identifier: Apache-2.0 */
/* recipe.c -- one model folder's way from text and video to ids and patches. */
#include "base/file.h"
#include "base/json.h"
#include "data/loader.h"

#include <stdlib.h>
#include <string.h>

/* config.json's max_position_embeddings bounds a sequence; a folder without one is bounded by 32768, the
 * Qwen2-VL default. */
static lpo_status read_max_positions(int32_t *out, const char *model_dir, lpo_error *err) {
    char *path = lpo_path_join(model_dir, "config.json");
    if (!path) return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", model_dir);
    json_t *config = NULL;
    int64_t n = 32768;
    lpo_status s = lpo_json_load(&config, path, (size_t)16 << 20, err);
    if (!s) {
        const json_t *text = json_object_get(config, "text_config");
        s = lpo_json_int_or(&n, json_object_get(text, "max_position_embeddings") ? text : config,
                            "max_position_embeddings", 1, 1 << 28, path, err);
    }
    json_decref(config);
    free(path);
    *out = (int32_t)n;
    return s;
}

lpo_status lpo_recipe_open(lpo_recipe *out, const char *model_dir, const char *chat_template,
                           lpo_error *err) {
    memset(out, 0, sizeof *out);
    lpo_status s = read_max_positions(&out->max_positions, model_dir, err);
    if (!s) s = lpo_tokenizer_load(&out->tokenizer, model_dir, err);
    if (!s)
        s = lpo_chat_open(&out->chat, model_dir, chat_template && chat_template[0] ? chat_template : NULL,
                          err);
    if (!s) s = lpo_prep_options_load(&out->prep, model_dir, err);
    if (!s) {
        out->video_pad_id = lpo_tokenizer_id(out->tokenizer, "<|video_pad|>");
        out->eos_id = lpo_tokenizer_id(out->tokenizer, "<|im_end|>");
        if (out->video_pad_id < 0 || out->eos_id < 0)
            s = lpo_fail(err, LPO_EFORMAT,
                         "%s: tokenizer.json has no token %s, which the chat template writes", model_dir,
                         out->video_pad_id < 0 ? "<|video_pad|>" : "<|im_end|>");
    }
    if (!s && !(out->cache = lpo_frame_cache_create((size_t)1 << 30)))
        s = lpo_fail(err, LPO_ENOMEM, "%s: out of memory", model_dir);
    if (s) lpo_recipe_close(out);
    return s;
}

void lpo_recipe_close(lpo_recipe *r) {
    lpo_frame_cache_destroy(r->cache);
    lpo_tokenizer_destroy(r->tokenizer);
    lpo_chat_close(r->chat);
    memset(r, 0, sizeof *r);
}

/* Replace the one pad of the rendered prompt by n_tokens of it. */
static lpo_status expand_pad(lpo_ids *out, const lpo_ids *in, int32_t pad, int64_t n_tokens, int n_videos,
                             lpo_error *err) {
    int64_t found = 0;
    lpo_status s = LPO_OK;
    for (size_t i = 0; i < in->n && !s; i++) {
        int64_t times = 1;
        if (in->ids[i] == pad) {
            found++;
            times = n_tokens;
        }
        for (int64_t k = 0; k < times && !s; k++) s = lpo_ids_push(out, in->ids[i], err);
    }
    if (!s && found != n_videos)
        s = lpo_fail(err, LPO_EFORMAT,
                     "the prompt holds %lld <|video_pad|> tokens for %d videos: the text must not spell them",
                     (long long)found, n_videos);
    return s;
}

lpo_status lpo_recipe_prompt(lpo_ids *out, const lpo_recipe *r, const char *question, const lpo_clip *clip,
                             lpo_error *err) {
    char *text = NULL;
    lpo_ids plain = {0};
    lpo_message m = {"user", question, clip != NULL};
    lpo_status s = lpo_chat_render(&text, r->chat, &m, 1, 1, err);
    if (!s) s = lpo_tokenizer_encode(&plain, r->tokenizer, text, strlen(text), err);
    if (!s) {
        int64_t merge = r->prep.merge_size;
        int64_t n = clip ? (int64_t)clip->grid_t * clip->grid_h * clip->grid_w / (merge * merge) : 0;
        s = expand_pad(out, &plain, r->video_pad_id, n, clip != NULL, err);
    }
    lpo_ids_clear(&plain);
    free(text);
    return s;
}

lpo_status lpo_recipe_response(lpo_ids *out, const lpo_recipe *r, const char *text, lpo_error *err) {
    lpo_status s = lpo_tokenizer_encode(out, r->tokenizer, text, strlen(text), err);
    return s ? s : lpo_ids_push(out, r->eos_id, err);
}
