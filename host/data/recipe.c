/* SPDX-License-Identifier: Apache-2.0 */
/* recipe.c -- one model folder's way from text and video to ids and patches. */
#include "base/file.h"
#include "base/json.h"
#include "data/loader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What config.json bounds and counts. max_position_embeddings: a folder without one is bounded by 32768, the
 * Qwen2-VL default; a linear rope_scaling factor stretches it. */
static lpo_status read_config(lpo_recipe *r, int64_t *pad, const char *model_dir, lpo_error *err) {
    char *path = lpo_path_join(model_dir, "config.json");
    if (!path) return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", model_dir);
    json_t *config = NULL;
    int64_t n = 32768;
    double factor = 1;
    lpo_status s = lpo_json_load(&config, path, (size_t)16 << 20, err);
    if (!s) {
        const json_t *inner = json_object_get(config, "text_config");
        const json_t *text = json_object_get(inner, "max_position_embeddings") ? inner : config;
        const json_t *decoder = json_is_object(inner) ? inner : config;
        const json_t *rope = json_object_get(decoder, "rope_scaling");
        if (!json_is_object(rope)) rope = json_object_get(decoder, "rope_parameters"); /* newer files */
        s = lpo_json_int_or(&n, text, "max_position_embeddings", 1, 1 << 28, path, err);
        if (!s && json_is_object(rope)) s = lpo_json_real_or(&factor, rope, "factor", 1, 1e6, path, err);
        if (!s) s = lpo_clip_rule_parse(&r->rule, config, path, err);
        if (!s) s = lpo_json_int_or(pad, config, "image_token_index", 0, 1 << 28, path, err);
        if (!s) s = lpo_json_int_or(pad, config, "video_token_index", 0, 1 << 28, path, err);
        if (!s) s = lpo_json_int_or(pad, config, "video_token_id", 0, 1 << 28, path, err);
        r->time_instruction = json_is_true(json_object_get(config, "add_time_instruction"));
    }
    json_decref(config);
    free(path);
    r->max_positions = (double)n * factor < 1 << 28 ? (int32_t)((double)n * factor) : 1 << 28;
    return s;
}

/* The id video rows replace: the template's token, or, where the tokenizer has none (LLaVA-NeXT cuts the text
 * at "<image>" instead), the one config.json sets aside. */
static lpo_status find_ids(lpo_recipe *r, int64_t pad, const char *model_dir, lpo_error *err) {
    const char *video = lpo_chat_video(r->chat), *end = lpo_chat_end(r->chat);
    r->video_pad_id = lpo_tokenizer_id(r->tokenizer, video);
    r->cut_at = r->video_pad_id < 0 && !strcmp(video, "<image>") && pad >= 0 ? video : NULL;
    if (r->cut_at) r->video_pad_id = (int32_t)pad;
    r->eos_id = lpo_tokenizer_id(r->tokenizer, end);
    if (r->video_pad_id >= 0 && r->eos_id >= 0) return LPO_OK;
    return lpo_fail(err, LPO_EFORMAT, "%s: tokenizer.json has no token %s, which the chat template writes",
                    model_dir, r->video_pad_id < 0 ? video : end);
}

lpo_status lpo_recipe_open(lpo_recipe *out, const char *model_dir, const char *chat_template,
                           const lpo_clip_options *clips, lpo_error *err) {
    memset(out, 0, sizeof *out);
    int64_t pad = -1;
    lpo_status s = read_config(out, &pad, model_dir, err);
    if (!s) s = lpo_tokenizer_load(&out->tokenizer, model_dir, err);
    if (!s)
        s = lpo_chat_open(&out->chat, model_dir, chat_template && chat_template[0] ? chat_template : NULL,
                          err);
    if (!s) s = lpo_prep_options_load(&out->prep, model_dir, err);
    if (!s && clips) s = lpo_prep_options_ask(&out->prep, clips, err);
    if (!s) out->rule.merge = out->prep.merge_size;
    if (!s) s = find_ids(out, pad, model_dir, err);
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
                     "the prompt holds %lld video tokens for %d videos: the text must not spell them",
                     (long long)found, n_videos);
    return s;
}

/* LLaVA-Video's sentence in front of a question; *out malloc'd. */
static lpo_status add_time(char **out, const char *question, const lpo_clip *c, lpo_error *err) {
    const size_t room = strlen(question) + 200 + 32 * (size_t)c->n_frames;
    char *s = *out = malloc(room);
    if (!s) return lpo_fail(err, LPO_ENOMEM, "out of memory for a question");
    int n = snprintf(
        s, room,
        "The video lasts for %.2f seconds, and %d frames are uniformly sampled from it. These frames "
        "are located at ",
        c->duration_s, c->n_frames);
    for (int i = 0; i < c->n_frames; i++)
        n += snprintf(s + n, room - (size_t)n, "%s%.2fs", i ? "," : "", c->time_s ? c->time_s[i] : 0);
    snprintf(s + n, room - (size_t)n, ".Please answer the following questions related to this video.\n%s",
             question);
    return LPO_OK;
}

/* Rendered text to ids, with one pad a clip. */
static lpo_status encode(lpo_ids *out, const lpo_recipe *r, const char *text, lpo_error *err) {
    size_t n_lead;
    const int32_t *lead = lpo_tokenizer_lead(r->tokenizer, &n_lead);
    lpo_status s = LPO_OK;
    for (size_t i = 0; i < n_lead && !s; i++) s = lpo_ids_push(out, lead[i], err);
    for (const char *cut; !s && r->cut_at && (cut = strstr(text, r->cut_at));
         text = cut + strlen(r->cut_at)) {
        s = lpo_tokenizer_encode(out, r->tokenizer, text, (size_t)(cut - text), err);
        if (!s) s = lpo_ids_push(out, r->video_pad_id, err);
    }
    return s ? s : lpo_tokenizer_encode(out, r->tokenizer, text, strlen(text), err);
}

lpo_status lpo_recipe_prompt(lpo_ids *out, const lpo_recipe *r, const char *question, const lpo_clip *clip,
                             lpo_error *err) {
    char *text = NULL, *timed = NULL;
    lpo_ids plain = {0};
    lpo_status s = clip && r->time_instruction ? add_time(&timed, question, clip, err) : LPO_OK;
    lpo_message m = {"user", timed ? timed : question, clip != NULL};
    if (!s) s = lpo_chat_render(&text, r->chat, &m, 1, 1, err);
    if (!s) s = encode(&plain, r, text, err);
    if (!s) {
        int64_t n = clip ? lpo_clip_rule_tokens(&r->rule, clip->grid_t, clip->grid_h, clip->grid_w) : 0;
        s = expand_pad(out, &plain, r->video_pad_id, n, clip != NULL, err);
    }
    lpo_ids_clear(&plain);
    free(timed);
    free(text);
    return s;
}

lpo_status lpo_recipe_response(lpo_ids *out, const lpo_recipe *r, const char *text, lpo_error *err) {
    lpo_status s = lpo_tokenizer_encode(out, r->tokenizer, text, strlen(text), err);
    return s ? s : lpo_ids_push(out, r->eos_id, err);
}
