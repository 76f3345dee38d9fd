/* SPDX-License-Identifier: Apache-2.0 */
/* train_stop.c -- truths: an answer ends before the first stop string in it, also where the string begins and
 * ends within tokens; text that may become one is held back; the other answers of the batch do not notice. */
#include "base/file.h"
#include "leanpo/model.h"
#include "leanpo/world.h"
#include "train/session.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Test(stop, finds_and_holds) {
    static const char *const text[] = {"\n\nQ:", "end"};
    const lpo_stops s = {text, 2}, none = {0};
    cr_assert_eq(lpo_stops_find(&s, "so the end\n\nQ:"), 7);
    cr_assert_eq(lpo_stops_find(&s, "so\n\nQ: end"), 2);
    cr_assert_eq(lpo_stops_find(&s, "so\n\nQ"), 5);
    cr_assert_eq(lpo_stops_find(&none, "end"), 3);
    cr_assert_eq(lpo_stops_held(&s, "so\n\nQ"), 3);
    cr_assert_eq(lpo_stops_held(&s, "so\n\nQ e"), 1);
    cr_assert_eq(lpo_stops_held(&s, "en"), 2);
    cr_assert_eq(lpo_stops_held(&s, "so"), 0);
    cr_assert_eq(lpo_stops_held(&none, "end"), 0);
}

Test(stop, ends_one_answer_of_two) {
    char dir[] = "/tmp/leanpo-stop-XXXXXX", world[64], tok[96], model[64];
    lpo_error err = {0};
    lpo_session s;
    cr_assert(mkdtemp(dir));
    snprintf(world, sizeof world, "%s/w", dir);
    snprintf(tok, sizeof tok, "%s/w/tokenizer.json", dir);
    snprintf(model, sizeof model, "%s/m", dir);
    lpo_world_options w = lpo_world_options_default();
    w.n_videos = 2;
    cr_assert_eq(lpo_world_write(world, &w, &err), LPO_OK, "%s", err.msg);
    cr_assert_eq(
        lpo_model_init(model, &(lpo_init_options){.size = "tiny", .tokenizer = tok, .seed = 4}, &err), LPO_OK,
        "%s", err.msg);
    cr_assert_eq(lpo_session_open(&s, model, NULL, NULL, NULL, NULL, NULL, 1, &err), LPO_OK, "%s", err.msg);
    lpo_ask asks[2] = {{.question = "what colour is it", .stream = 1}, {.question = "where", .stream = 2}};
    lpo_gen_options o = lpo_gen_options_default();
    o.max_tokens = 24;
    o.temperature = 1;
    char *free_run[2], *stopped[2];
    lpo_gen_seq seqs[2];
    cr_assert_eq(lpo_session_answer(free_run, NULL, &s, asks, 2, &o, NULL, NULL, &err), LPO_OK, "%s",
                 err.msg);
    const size_t n = strlen(free_run[0]);
    cr_assert_gt(n, 20);
    char from_middle[6] = {0};
    memcpy(from_middle, free_run[0] + n / 2, 5);
    const char *const text[] = {"never said", from_middle};
    asks[0].stops = (lpo_stops){text, 2};
    cr_assert_eq(lpo_session_answer(stopped, seqs, &s, asks, 2, &o, NULL, NULL, &err), LPO_OK, "%s", err.msg);
    const size_t end = (size_t)(strstr(free_run[0], from_middle) - free_run[0]);
    cr_assert_eq(strlen(stopped[0]), end, "\"%s\" of \"%s\"", stopped[0], free_run[0]);
    cr_assert_eq(memcmp(stopped[0], free_run[0], end), 0);
    cr_assert_str_eq(stopped[1], free_run[1]);
    cr_assert(seqs[0].stopped && !seqs[1].stopped);
    cr_assert_lt(seqs[0].n_ids, 24);
    for (int i = 0; i < 2; i++) {
        free(free_run[i]);
        free(stopped[i]);
        lpo_gen_seq_clear(&seqs[i]);
    }
    lpo_session_close(&s);
    cr_assert_eq(lpo_dir_remove(dir, &err), LPO_OK);
}
