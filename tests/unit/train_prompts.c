/* SPDX-License-Identifier: Apache-2.0 */
/* train_prompts.c -- templates of the pairs pipeline. */
#include "base/file.h"
#include "leanpo/pairs.h"
#include "train/prompts.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *folder(void) {
    static char dir[] = "/tmp/lpo_promptsXXXXXX";
    strcpy(dir + strlen(dir) - 6, "XXXXXX");
    cr_assert(mkdtemp(dir));
    return dir;
}

static void put(const char *dir, const char *name, const char *text) {
    lpo_error err;
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    cr_assert_eq(lpo_file_write(path, text, strlen(text), &err), LPO_OK);
}

/* Truth: slots are filled once; braces in what is filled in, and braces that are no slot, are text. */
Test(prompts, fill) {
    lpo_error err;
    lpo_prompts p;
    char *dir = folder();
    put(dir, "reflection.txt", "{draft} {question} {answer}");
    put(dir, "prior.txt", "{\"q\": {question}, {}} {answer}{answer}\n");
    cr_assert_eq(lpo_prompts_open(&p, dir, &err), LPO_OK, "%s", err.msg);
    lpo_arena *a = lpo_arena_create(1024);
    cr_expect_str_eq(lpo_prompts_fill(a, &p, LPO_PROMPT_PRIOR,
                                      &(lpo_prompt_values){.question = "{answer}?", .answer = "42"}),
                     "{\"q\": {answer}?, {}} 4242");
    cr_expect(strstr(p.text[LPO_PROMPT_JUDGE], "{candidate}"), "without judge.txt, the plain one");
    lpo_arena_destroy(a);
    lpo_prompts_close(&p);
    lpo_dir_remove(dir, &err);
}

/* Truth: a template without its slot, or with a misspelt one, is refused naming the file and the slot. */
Test(prompts, slots_are_checked) {
    lpo_error err;
    lpo_prompts p;
    char *dir = folder();
    put(dir, "prior.txt", "{question} {answer}");
    cr_expect_eq(lpo_prompts_open(&p, dir, &err), LPO_ENOTFOUND);
    cr_expect(strstr(err.msg, "reflection.txt"), "%s", err.msg);
    put(dir, "reflection.txt", "{question} was answered {draft}");
    cr_expect_eq(lpo_prompts_open(&p, dir, &err), LPO_EFORMAT);
    cr_expect(strstr(err.msg, "reflection.txt") && strstr(err.msg, "{answer}"), "%s", err.msg);
    put(dir, "reflection.txt", "{question} {draft} {answer}\n{anwser}");
    cr_expect_eq(lpo_prompts_open(&p, dir, &err), LPO_EFORMAT);
    cr_expect(strstr(err.msg, "reflection.txt:2") && strstr(err.msg, "{anwser}"), "%s", err.msg);
    put(dir, "reflection.txt", "{question} {draft} {answer} {candidate}");
    cr_expect_eq(lpo_prompts_open(&p, dir, &err), LPO_EFORMAT);
    cr_expect(strstr(err.msg, "{candidate}"), "%s", err.msg);
    put(dir, "reflection.txt", "{question} {draft} {answer} caf\xe9");
    cr_expect_eq(lpo_prompts_open(&p, dir, &err), LPO_EFORMAT);
    cr_expect(strstr(err.msg, "reflection.txt") && strstr(err.msg, "UTF-8"), "%s", err.msg);
    lpo_dir_remove(dir, &err);
    cr_expect_eq(lpo_prompts_open(&p, dir, &err), LPO_ENOTFOUND);
}

/* Truth: what is written out is what is built in, and a user's edit is never overwritten. */
Test(prompts, written_ones_are_the_built_in_ones) {
    lpo_error err;
    lpo_prompts built_in, read;
    char *dir = folder();
    cr_assert_eq(lpo_pairs_write_templates(dir, &err), LPO_OK, "%s", err.msg);
    cr_assert_eq(lpo_prompts_open(&built_in, NULL, &err), LPO_OK);
    cr_assert_eq(lpo_prompts_open(&read, dir, &err), LPO_OK, "%s", err.msg);
    for (int k = 0; k < LPO_PROMPTS; k++) cr_expect_str_eq(read.text[k], built_in.text[k]);
    cr_expect_eq(lpo_pairs_write_templates(dir, &err), LPO_EINVAL);
    lpo_prompts_close(&read);
    lpo_prompts_close(&built_in);
    lpo_dir_remove(dir, &err);
}

/* Truth: who trains a model to be asked for pairs gets the very words of the run: the demo's SFT data. */
Test(prompts, the_words_of_a_run) {
    lpo_error err;
    char *text;
    cr_assert_eq(lpo_pairs_prompt(&text, "world", "what colour?", "red", NULL, &err), LPO_OK);
    cr_expect_str_eq(text, "what colour? hint red");
    free(text);
    cr_assert_eq(lpo_pairs_prompt(&text, "world", "what colour?", "red", "{answer}", &err), LPO_OK);
    cr_expect_str_eq(text, "what colour? draft {answer} hint red");
    free(text);
    cr_expect_eq(lpo_pairs_prompt(&text, "/nonexistent", "q", "a", NULL, &err), LPO_ENOTFOUND);
    cr_expect_null(text);
}
