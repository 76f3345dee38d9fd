/* SPDX-License-Identifier: Apache-2.0 */
/* prompts.c -- see prompts.h. The order question, draft, answer is the one a small model learned best: what
 * is asked first, what is known last. */
#include "train/prompts.h"

#include "base/file.h"
#include "base/json.h"
#include "leanpo/pairs.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { QUESTION = 1, ANSWER = 2, DRAFT = 4, CANDIDATE = 8, MAX_TEMPLATE_BYTES = 1 << 16 };
static const char *const SLOT[] = {"question", "answer", "draft", "candidate"};

static const struct {
    const char *file, *plain, *world;
    unsigned needs, may;
} KIND[LPO_PROMPTS] = {
    {"prior.txt",
     "{question}\n\nThe correct answer is: {answer}\nUsing it as prior knowledge, watch the video and answer "
     "the "
     "question in your own words.",
     "{question} hint {answer}", QUESTION | ANSWER, QUESTION | ANSWER},
    {"reflection.txt",
     "{question}\n\nA first answer was: {draft}\nThe correct answer is: {answer}\nReflect on what the first "
     "answer "
     "gets wrong or leaves out, look at the video again, and write the improved answer only.",
     "{question} draft {draft} hint {answer}", QUESTION | ANSWER | DRAFT, QUESTION | ANSWER | DRAFT},
    {"judge.txt",
     "Question about a video: {question}\nReference answer: {answer}\nAnswer to rate: {candidate}\n\nHow far "
     "does "
     "the answer agree with the reference in its facts? Reply with one number from 0 (not at all) to 1 "
     "(fully) "
     "and nothing else.",
     NULL, QUESTION | ANSWER | CANDIDATE, QUESTION | ANSWER | CANDIDATE},
};

const char *lpo_prompts_file(lpo_prompt_kind kind) {
    return KIND[kind].file;
}

/* The slot that begins at s ("{word}"): its number and length, -1 for a word nobody knows; 0 length: no slot.
 */
static size_t slot_at(int *slot, const char *s) {
    size_t n = strspn(s + 1, "abcdefghijklmnopqrstuvwxyz_");
    if (s[0] != '{' || n == 0 || s[n + 1] != '}') return 0;
    *slot = -1;
    for (int i = 0; i < 4; i++)
        if (strlen(SLOT[i]) == n && !memcmp(SLOT[i], s + 1, n)) *slot = i;
    return n + 2;
}

static lpo_status check(const char *text, lpo_prompt_kind kind, const char *path, lpo_error *err) {
    json_t *utf8 = json_string(text);
    json_decref(utf8);
    if (!utf8) return lpo_fail(err, LPO_EFORMAT, "%s: is not UTF-8: convert it first", path);
    unsigned found = 0;
    int line = 1, slot;
    for (const char *s = text; *s; s++) {
        line += *s == '\n';
        size_t n = *s == '{' ? slot_at(&slot, s) : 0;
        if (!n) continue;
        if (slot < 0 || !(KIND[kind].may & 1u << slot))
            return lpo_fail(err, LPO_EFORMAT,
                            "%s:%d: %.*s is no slot of this template (slots: {question} {answer}%s%s)", path,
                            line, (int)n, s, KIND[kind].may & DRAFT ? " {draft}" : "",
                            KIND[kind].may & CANDIDATE ? " {candidate}" : "");
        found |= 1u << slot;
    }
    for (int i = 0; i < 4; i++)
        if (KIND[kind].needs & ~found & 1u << i)
            return lpo_fail(err, LPO_EFORMAT, "%s: the slot {%s} is missing: write it where the %s belongs",
                            path, SLOT[i], SLOT[i]);
    return LPO_OK;
}

static lpo_status read_file(char **out, const char *dir, lpo_prompt_kind kind, lpo_error *err) {
    char *path = lpo_path_join(dir, KIND[kind].file);
    if (!path) return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", dir);
    size_t n = 0;
    lpo_status s = LPO_OK;
    if (lpo_path_exists(path)) {
        s = lpo_file_read(out, &n, path, MAX_TEMPLATE_BYTES, err);
        if (!s && strlen(*out) != n) s = lpo_fail(err, LPO_EFORMAT, "%s: holds a zero byte", path);
        /* An editor's final newline is no part of the prompt. */
        if (!s && n && (*out)[n - 1] == '\n') (*out)[n - 1] = 0;
        if (!s) s = check(*out, kind, path, err);
    } else if (kind != LPO_PROMPT_JUDGE) {
        s = lpo_fail(err, LPO_ENOTFOUND,
                     "%s: no such template (leanpo pairs --print-templates DIR writes a folder to edit)",
                     path);
    } else if (!(*out = strdup(KIND[kind].plain))) {
        s = lpo_fail(err, LPO_ENOMEM, "%s: out of memory", dir);
    }
    free(path);
    return s;
}

lpo_status lpo_prompts_open(lpo_prompts *out, const char *from, lpo_error *err) {
    memset(out, 0, sizeof *out);
    const bool world = from && !strcmp(from, "world"), plain = !from || !from[0] || !strcmp(from, "plain");
    struct stat st;
    if (!world && !plain && (stat(from, &st) || !S_ISDIR(st.st_mode)))
        return lpo_fail(err, LPO_ENOTFOUND,
                        "%s: no such folder of templates (plain and world are built in; leanpo pairs "
                        "--print-templates DIR writes a folder to edit)",
                        from);
    lpo_status s = LPO_OK;
    for (int k = 0; k < LPO_PROMPTS && !s; k++) {
        if (!world && !plain)
            s = read_file(&out->text[k], from, (lpo_prompt_kind)k, err);
        else if (!(out->text[k] = strdup(world && KIND[k].world ? KIND[k].world : KIND[k].plain)))
            s = lpo_fail(err, LPO_ENOMEM, "out of memory");
    }
    if (s) lpo_prompts_close(out);
    return s;
}

void lpo_prompts_close(lpo_prompts *p) {
    for (int k = 0; k < LPO_PROMPTS; k++) free(p->text[k]);
    memset(p, 0, sizeof *p);
}

/* Twice over the template: to count, then to write. */
const char *lpo_prompts_fill(lpo_arena *arena, const lpo_prompts *p, lpo_prompt_kind kind,
                             const lpo_prompt_values *v) {
    const char *const value[] = {v->question, v->answer, v->draft, v->candidate};
    char *out = NULL;
    for (int pass = 0; pass < 2; pass++) {
        size_t n = 0;
        for (const char *s = p->text[kind]; *s;) {
            int slot;
            const size_t skip = *s == '{' ? slot_at(&slot, s) : 0;
            const char *from = skip ? value[slot] : s;
            const size_t len = skip ? (from ? strlen(from) : 0) : 1;
            if (out && len) memcpy(out + n, from, len);
            n += len;
            s += skip ? skip : 1;
        }
        if (!out && !(out = lpo_arena_alloc(arena, n + 1, 1))) return NULL;
    }
    return out;
}

lpo_status lpo_pairs_prompt(char **out, const char *templates, const char *question, const char *answer,
                            const char *draft, lpo_error *err) {
    lpo_prompts p;
    *out = NULL;
    lpo_status s = lpo_prompts_open(&p, templates, err);
    if (s) return s;
    lpo_arena *arena = lpo_arena_create(1 << 10);
    const lpo_prompt_values v = {.question = question, .answer = answer, .draft = draft};
    const char *text =
        arena ? lpo_prompts_fill(arena, &p, draft ? LPO_PROMPT_REFLECT : LPO_PROMPT_PRIOR, &v) : NULL;
    if (!text || !(*out = strdup(text))) s = lpo_fail(err, LPO_ENOMEM, "out of memory for a prompt");
    lpo_arena_destroy(arena);
    lpo_prompts_close(&p);
    return s;
}

lpo_status lpo_pairs_write_templates(const char *dir, lpo_error *err) {
    lpo_status s = lpo_dir_create(dir, err);
    for (int k = 0; k < LPO_PROMPTS && !s; k++) {
        char *path = lpo_path_join(dir, KIND[k].file), *text = NULL;
        if (!path || asprintf(&text, "%s\n", KIND[k].plain) < 0)
            s = lpo_fail(err, LPO_ENOMEM, "%s: out of memory", dir);
        else if (lpo_path_exists(path))
            s = lpo_fail(err, LPO_EINVAL, "%s: exists already, and is left as it is", path);
        else
            s = lpo_file_write(path, text, strlen(text), err);
        free(text);
        free(path);
    }
    return s;
}
