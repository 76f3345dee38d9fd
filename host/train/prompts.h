/* SPDX-License-Identifier: Apache-2.0 */
/* prompts.h -- what the pairs pipeline asks the model (and a judge), as texts with slots.
 * A template is a text in which {question}, {answer}, {draft} and {candidate} stand for the line at hand. It
 * is a file the user may edit; the built-in ones are written out by lpo_prompts_write. A brace followed by
 * anything but a lower-case word and a closing brace is text. */
#ifndef LPO_TRAIN_PROMPTS_H
#define LPO_TRAIN_PROMPTS_H
#include "base/arena.h"
#include "leanpo/status.h"

typedef enum lpo_prompt_kind {
    LPO_PROMPT_PRIOR,   /* the question with its answer as prior knowledge -> a draft */
    LPO_PROMPT_REFLECT, /* the question, the draft, the answer -> the winner */
    LPO_PROMPT_JUDGE,   /* the question, the answer, a candidate -> a number from 0 to 1 */
    LPO_PROMPTS
} lpo_prompt_kind;

typedef struct lpo_prompts {
    char *text[LPO_PROMPTS]; /* malloc'd */
} lpo_prompts;

typedef struct lpo_prompt_values {
    const char *question, *answer, *draft, *candidate;
} lpo_prompt_values;

/* from: NULL or "plain" (English sentences, for models that follow instructions), "world" (the few words the
 * moving-shapes model is taught), or a folder with prior.txt, reflection.txt and, for a judge who wants
 * another than the plain one, judge.txt. A template that lacks a slot it needs, or has one nobody knows, is
 * LPO_EFORMAT naming the file and the slot. */
lpo_status lpo_prompts_open(lpo_prompts *out, const char *from, lpo_error *err);
void lpo_prompts_close(lpo_prompts *p); /* a zeroed one is fine */
/* The template with its slots filled; arena memory, NULL when out of it. What is filled in is not read for
 * slots again. */
const char *lpo_prompts_fill(lpo_arena *arena, const lpo_prompts *p, lpo_prompt_kind kind,
                             const lpo_prompt_values *v);
const char *lpo_prompts_file(lpo_prompt_kind kind); /* "prior.txt" */
#endif
