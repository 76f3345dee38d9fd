/* SPDX-License-Identifier: Apache-2.0 */
/* chat.c -- chat templates. A template is a program in Jinja; running strangers' programs is not this
 * library's work, so the templates of the supported models are known by the XXH64 of their exact text and
 * each has a renderer here. A text that differs in one byte may render differently: it is refused until the
 * user says which renderer is meant. */
#include "base/file.h"
#include "base/json.h"
#include "leanpo/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define MAX_FILE ((size_t)64 << 20) /* tokenizer_config.json may list every added token */

typedef struct text {
    char *s;
    size_t n, cap;
    int failed; /* out of memory: checked once, at the end */
} text;

struct lpo_chat {
    const char *name, *video, *end; /* what stands for a clip; what ends an answer */
    lpo_status (*render)(text *out, const lpo_message *m, int n, int prompt, lpo_error *err);
};

static void put(text *t, const char *s) {
    size_t len = strlen(s);
    if (t->failed) return;
    if (t->n + len >= t->cap) {
        size_t cap = 2 * (t->n + len) + 256;
        char *p = realloc(t->s, cap);
        if (!p) {
            t->failed = 1;
            return;
        }
        t->s = p;
        t->cap = cap;
    }
    memcpy(t->s + t->n, s, len + 1);
    t->n += len;
}

static void put_message(text *out, const lpo_message *m, const char *video) {
    put(out, "<|im_start|>");
    put(out, m->role);
    put(out, "\n");
    for (int v = 0; v < m->n_videos; v++) put(out, video);
    put(out, m->content ? m->content : "");
    put(out, "<|im_end|>\n");
}

static void put_chatml(text *out, const lpo_message *m, int n, int prompt, const char *video) {
    if (n > 0 && strcmp(m[0].role, "system") != 0)
        put_message(out, &(lpo_message){"system", "You are a helpful assistant.", 0}, video);
    for (int i = 0; i < n; i++) put_message(out, &m[i], video);
    if (prompt) put(out, "<|im_start|>assistant\n");
}

static lpo_status render_chatml(text *out, const lpo_message *m, int n, int prompt, lpo_error *err) {
    (void)err;
    put_chatml(out, m, n, prompt, "<|vision_start|><|video_pad|><|vision_end|>");
    return LPO_OK;
}

/* LLaVA-NeXT's "qwen_1_5" conversation. */
static lpo_status render_llava_qwen(text *out, const lpo_message *m, int n, int prompt, lpo_error *err) {
    (void)err;
    put_chatml(out, m, n, prompt, "<image>\n");
    return LPO_OK;
}

/* llava-hf's rendering of the same family: no system message, no line break but in front of a question. */
static lpo_status render_onevision(text *out, const lpo_message *m, int n, int prompt, lpo_error *err) {
    (void)err;
    for (int i = 0; i < n; i++) {
        put(out, "<|im_start|>");
        put(out, m[i].role);
        put(out, " ");
        for (int v = 0; v < m[i].n_videos; v++) put(out, "<video>");
        put(out, "\n");
        put(out, m[i].content ? m[i].content : "");
        put(out, "<|im_end|>");
    }
    if (prompt) put(out, "<|im_start|>assistant\n");
    return LPO_OK;
}

static lpo_status render_vicuna(text *out, const lpo_message *m, int n, int prompt, lpo_error *err) {
    for (int i = 0; i < n; i++) {
        int user = strcmp(m[i].role, "user") == 0, assistant = strcmp(m[i].role, "assistant") == 0;
        if (!user && !assistant && strcmp(m[i].role, "system") != 0)
            return lpo_fail(err, LPO_EINVAL,
                            "message %d: role \"%s\": vicuna knows system, user and assistant", i, m[i].role);
        put(out, user ? "USER: " : assistant ? "ASSISTANT: " : "");
        for (int v = 0; v < m[i].n_videos; v++) put(out, "<video>\n");
        put(out, m[i].content ? m[i].content : "");
        put(out, " ");
    }
    if (prompt) put(out, "ASSISTANT:");
    return LPO_OK;
}

static const lpo_chat chats[] = {{"chatml", "<|video_pad|>", "<|im_end|>", render_chatml},
                                 {"vicuna", "<video>", "</s>", render_vicuna},
                                 {"llava_qwen", "<image>", "<|im_end|>", render_llava_qwen},
                                 {"llava_onevision", "<video>", "<|im_end|>", render_onevision}};
#define CHAT_NAMES "chatml, vicuna, llava_qwen or llava_onevision"

/* XXH64 (seed 0) of whole template texts, as the JSON string or the .jinja file has them. */
static const struct {
    uint64_t hash;
    int chat; /* index into chats */
} known[] = {
    {0xd06dfa64f38fdacf, 0}, /* Qwen2-VL and Qwen2.5-VL Instruct, chat_template.json (1017 bytes) */
    {0x301e91d166cf9b9f, 0}, /* Qwen2 Instruct, tokenizer_config.json (328 bytes) */
    {0xab2957052382cf7c, 0}, /* the same with \n spelt as an escape of Jinja's (333 bytes) */
};

static lpo_status pick_named(lpo_chat **out, const char *name, lpo_error *err) {
    for (size_t i = 0; i < sizeof chats / sizeof *chats; i++)
        if (strcmp(chats[i].name, name) == 0) {
            *out = (lpo_chat *)&chats[i];
            return LPO_OK;
        }
    return lpo_fail(err, LPO_EINVAL, "chat template \"%s\": choose " CHAT_NAMES, name);
}

static lpo_status pick_hashed(lpo_chat **out, const char *template_text, size_t n, const char *where,
                              lpo_error *err) {
    uint64_t hash = XXH64(template_text, n, 0);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].hash == hash) {
            *out = (lpo_chat *)&chats[known[i].chat];
            return LPO_OK;
        }
    return lpo_fail(err, LPO_EUNSUPPORTED,
                    "%s: an unknown chat template (XXH64 %016" PRIx64
                    "): name the one it amounts to with --chat-template (" CHAT_NAMES ")",
                    where, hash);
}

/* obj["chat_template"]: a text, or a list of {"name", "template"} of which "default" counts. NULL when there
 * is none. */
static const json_t *template_of(const json_t *obj) {
    const json_t *v = json_object_get(obj, "chat_template"), *item;
    size_t i;
    if (json_is_string(v)) return v;
    json_array_foreach((json_t *)v, i, item) {
        const char *name = json_string_value(json_object_get(item, "name"));
        const json_t *t = json_object_get(item, "template");
        if (name && strcmp(name, "default") == 0 && json_is_string(t)) return t;
    }
    return NULL;
}

/* LPO_ENOTFOUND: the file is not there or has no template; err is then not filled. */
static lpo_status pick_from_json(lpo_chat **out, const char *path, lpo_error *err) {
    if (!lpo_path_exists(path)) return LPO_ENOTFOUND;
    json_t *root;
    lpo_status s = lpo_json_load(&root, path, MAX_FILE, err);
    if (s) return s;
    const json_t *t = template_of(root);
    s = t ? pick_hashed(out, json_string_value(t), json_string_length(t), path, err) : LPO_ENOTFOUND;
    json_decref(root);
    return s;
}

static lpo_status pick_from_jinja(lpo_chat **out, const char *path, lpo_error *err) {
    if (!lpo_path_exists(path)) return LPO_ENOTFOUND;
    char *data;
    size_t n;
    lpo_status s = lpo_file_read(&data, &n, path, MAX_FILE, err);
    if (s) return s;
    s = pick_hashed(out, data, n, path, err);
    free(data);
    return s;
}

static lpo_status pick_by_model_type(lpo_chat **out, const char *path, lpo_error *err) {
    static const struct {
        const char *type, *chat;
    } of[] = {{"qwen2", "chatml"},          {"qwen2_vl", "chatml"},
              {"qwen2_5_vl", "chatml"},     {"llava_next_video", "vicuna"},
              {"llava_qwen", "llava_qwen"}, {"llava_onevision", "llava_onevision"}};
    const char *type;
    json_t *root;
    lpo_status s = lpo_json_load(&root, path, MAX_FILE, err);
    if (s) return s;
    s = lpo_json_str(&type, root, "model_type", path, err);
    if (s == LPO_OK) {
        s = LPO_EUNSUPPORTED;
        for (size_t i = 0; i < sizeof of / sizeof *of; i++)
            if (strcmp(type, of[i].type) == 0) s = pick_named(out, of[i].chat, err);
        if (s)
            lpo_fail(
                err, s,
                "%s: model_type \"%.60s\" has no chat template: name one with --chat-template (" CHAT_NAMES
                ")",
                path, type);
    }
    json_decref(root);
    return s;
}

typedef lpo_status pick_fn(lpo_chat **out, const char *path, lpo_error *err);

lpo_status lpo_chat_open(lpo_chat **out, const char *model_dir, const char *override_name, lpo_error *err) {
    static const struct {
        const char *file;
        pick_fn *pick;
    } places[] = {{"chat_template.jinja", pick_from_jinja},
                  {"chat_template.json", pick_from_json},
                  {"tokenizer_config.json", pick_from_json},
                  {"config.json", pick_by_model_type}};
    *out = NULL;
    if (override_name) return pick_named(out, override_name, err);
    if (!model_dir) return lpo_fail(err, LPO_EINVAL, "a chat template needs a model folder or a name");
    lpo_status s = LPO_ENOTFOUND;
    for (size_t i = 0; i < sizeof places / sizeof *places && s == LPO_ENOTFOUND; i++) {
        char *path = lpo_path_join(model_dir, places[i].file);
        if (!path) return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", model_dir);
        s = places[i].pick(out, path, err);
        free(path);
    }
    return s;
}

/* Chats are constants: there is nothing to free, but callers need not know. */
void lpo_chat_close(lpo_chat *c) {
    (void)c;
}

const char *lpo_chat_name(const lpo_chat *c) {
    return c->name;
}

const char *lpo_chat_video(const lpo_chat *c) {
    return c->video;
}

const char *lpo_chat_end(const lpo_chat *c) {
    return c->end;
}

lpo_status lpo_chat_render(char **out, const lpo_chat *c, const lpo_message *m, int n,
                           int add_generation_prompt, lpo_error *err) {
    *out = NULL;
    for (int i = 0; i < n; i++)
        if (!m[i].role || m[i].n_videos < 0)
            return lpo_fail(err, LPO_EINVAL, "message %d has no role or a negative n_videos", i);
    text t = {0};
    put(&t, "");
    lpo_status s = c->render(&t, m, n, add_generation_prompt, err);
    if (s == LPO_OK && t.failed) s = lpo_fail(err, LPO_ENOMEM, "out of memory for the rendered chat");
    if (s)
        free(t.s);
    else
        *out = t.s;
    return s;
}
