/* SPDX-License-Identifier: Apache-2.0 */
/* record.c -- one line of a set: its keys, whichever of the two forms it has. */
#include "data/record.h"

#include <stdlib.h>
#include <string.h>

/* The text of a message's "content": a string, or the "text" parts of a list joined by newlines. NULL when it
 * is neither. */
static const char *content_text(lpo_arena *arena, const json_t *content) {
    if (json_is_string(content)) return json_string_value(content);
    if (!json_is_array(content)) return NULL;
    const char *text = NULL;
    size_t i;
    json_t *part;
    json_array_foreach(content, i, part) {
        const char *t = json_string_value(json_object_get(part, "text"));
        if (t) text = text ? lpo_arena_printf(arena, "%s\n%s", text, t) : t;
    }
    return text;
}

/* A field that is a string or a conversational list whose last message of `role` is meant. */
static const char *text_of(lpo_arena *arena, const json_t *obj, const char *key, const char *role) {
    const json_t *v = json_object_get(obj, key);
    if (json_is_string(v)) return json_string_value(v);
    if (!json_is_array(v)) return NULL;
    for (size_t i = json_array_size(v); i-- > 0;) {
        const json_t *m = json_array_get(v, i);
        const char *r = json_string_value(json_object_get(m, "role"));
        if (r && !strcmp(r, role)) return content_text(arena, json_object_get(m, "content"));
    }
    return NULL;
}

bool lpo_text_blank(const char *s) {
    return s[strspn(s, " \t\r\n")] == 0;
}

const char *lpo_record_parse(lpo_record *r, const json_t *obj, lpo_arena *arena, const char *dir,
                             lpo_record_need need) {
    if (!json_is_object(obj)) return "not a JSON object";
    const bool answered = need != LPO_NEED_QUESTION;
    const bool pair = answered && (json_object_get(obj, "chosen") || json_object_get(obj, "rejected") ||
                                   need == LPO_NEED_PAIR);
    r->prompt = text_of(arena, obj, "prompt", "user");
    if (!r->prompt) r->prompt = text_of(arena, obj, "question", "user");
    if (!r->prompt)
        return pair ? "key \"prompt\" is missing or not text" : "key \"question\" is missing or not text";
    if (!answered && lpo_text_blank(r->prompt)) return "the question is empty";
    if (answered) r->chosen = text_of(arena, obj, pair ? "chosen" : "answer", "assistant");
    if (answered && !r->chosen)
        return pair ? "key \"chosen\" is missing or not text" : "key \"answer\" is missing or not text";
    if (answered && lpo_text_blank(r->chosen)) return pair ? "\"chosen\" is empty" : "\"answer\" is empty";
    if (pair) {
        r->rejected = text_of(arena, obj, "rejected", "assistant");
        if (!r->rejected) return "key \"rejected\" is missing or not text";
        if (lpo_text_blank(r->rejected)) return "\"rejected\" is empty";
    }
    const json_t *video = json_object_get(obj, "video");
    if (video && !json_is_null(video)) {
        if (!json_is_string(video) || lpo_text_blank(json_string_value(video)))
            return "key \"video\" is not a path";
        const char *v = json_string_value(video);
        r->video = v[0] == '/' ? v : lpo_arena_printf(arena, "%s/%s", dir, v);
        if (!r->video) return "out of memory";
    } else {
        return "key \"video\" is missing";
    }
    const json_t *id = json_object_get(obj, "id");
    if (json_is_string(id))
        r->id = json_string_value(id);
    else
        r->id = json_is_integer(id) ? lpo_arena_printf(arena, "%lld", (long long)json_integer_value(id))
                                    : lpo_arena_printf(arena, "%lld", (long long)r->line);
    return r->id ? NULL : "out of memory";
}

json_t *lpo_record_video_from(const lpo_record *r, bool same_folder) {
    if (same_folder) return json_incref(json_object_get(r->json, "video"));
    char *real = realpath(r->video, NULL);
    json_t *o = json_string(real ? real : r->video);
    free(real);
    return o;
}
