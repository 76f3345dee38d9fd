/* SPDX-License-Identifier: Apache-2.0 */
/* data_loader.c -- batches: the same for any number of workers, resumable at any step, one clip per video.
 * The videos and the tokenizer are the moving-shapes world's, made here. */
#include "base/file.h"
#include "data/loader.h"
#include "leanpo/world.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[64];
static lpo_recipe recipe;
static lpo_dataset *set;

static void open_world(void) {
    static const char config[] = "{\"model_type\":\"qwen2_vl\",\"max_position_embeddings\":512}";
    static const char prep[] = "{\"patch_size\":14,\"min_pixels\":3136,\"max_pixels\":3136,\"num_frames\":4}";
    lpo_error err;
    char path[256];
    strcpy(dir, "/tmp/leanpo-loader-XXXXXX");
    cr_assert(mkdtemp(dir));
    lpo_world_options w = lpo_world_options_default();
    w.n_videos = 6;
    w.size_px = 64;
    w.n_threads = 1;
    cr_assert_eq(lpo_world_write(dir, &w, &err), LPO_OK, "%s", err.msg);
    snprintf(path, sizeof path, "%s/config.json", dir);
    cr_assert_eq(lpo_file_write(path, config, sizeof config - 1, &err), LPO_OK);
    snprintf(path, sizeof path, "%s/preprocessor_config.json", dir);
    cr_assert_eq(lpo_file_write(path, prep, sizeof prep - 1, &err), LPO_OK);
    cr_assert_eq(lpo_recipe_open(&recipe, dir, "chatml", NULL, &err), LPO_OK, "%s", err.msg);
    snprintf(path, sizeof path, "%s/qa.train.jsonl", dir);
    cr_assert_eq(lpo_dataset_open(&set, path, NULL, &err), LPO_OK, "%s", err.msg);
}
static void close_world(void) {
    lpo_dataset_close(set);
    lpo_recipe_close(&recipe);
    lpo_dir_remove(dir, NULL);
}
TestSuite(loader, .init = open_world, .fini = close_world, .timeout = 120);

/* A number that changes when anything a batch holds changes. */
static uint64_t fingerprint(const lpo_batch *b) {
    uint64_t h = (uint64_t)b->step;
    for (int32_t i = 0; i < b->n_samples; i++) {
        const lpo_sample *s = &b->samples[i];
        h = h * 31 + (uint64_t)s->record->index;
        for (size_t k = 0; k < s->chosen.n; k++) h = h * 31 + (uint64_t)s->chosen.ids[k];
        const lpo_batch_clip *c = &b->clips[s->clip];
        const uint8_t *bytes = c->patches;
        for (int32_t k = 0; k < c->grid_t * c->grid_h * c->grid_w * 1176; k++) h = h * 31 + bytes[k];
    }
    return h;
}

static void run(uint64_t *out, int64_t first, int64_t n, int workers, int depth) {
    lpo_error err;
    lpo_loader *l;
    lpo_loader_options o = lpo_loader_options_default();
    o.batch_size = 4;
    o.seed = 7;
    o.shuffle = true;
    o.first_step = first;
    o.n_steps = n;
    o.n_workers = workers;
    o.queue_depth = depth;
    cr_assert_eq(lpo_loader_create(&l, set, &recipe, &o, &err), LPO_OK, "%s", err.msg);
    lpo_batch *b;
    for (int64_t i = 0; i < n; i++) {
        cr_assert_eq(lpo_loader_next(&b, l, NULL, &err), LPO_OK, "%s", err.msg);
        cr_assert_eq(b->step, first + i);
        out[i] = fingerprint(b);
        lpo_loader_release(l, b);
    }
    cr_expect_eq(lpo_loader_next(&b, l, NULL, &err), LPO_EEND);
    lpo_loader_destroy(l);
}

/* Truth: what a batch holds depends on (seed, step) alone: not on workers or queue depth, and not on where
 * the run began. */
Test(loader, batches_depend_on_seed_and_step_alone) {
    uint64_t a[20], b[20], c[9];
    run(a, 0, 20, 1, 1);
    run(b, 0, 20, 3, 4);
    run(c, 11, 9, 2, 3);
    cr_expect_arr_eq(a, b, sizeof a);
    cr_expect_arr_eq(a + 11, c, sizeof c);
    cr_expect_neq(a[0], a[1]);
}

/* Truth: every record is seen once an epoch, and the epochs differ in order. */
Test(loader, an_epoch_is_a_permutation) {
    lpo_error err;
    lpo_loader *l;
    int64_t n = lpo_dataset_count(set);
    lpo_loader_options o = lpo_loader_options_default();
    o.shuffle = true;
    o.n_steps = 2 * n;
    cr_assert_eq(lpo_loader_create(&l, set, &recipe, &o, &err), LPO_OK);
    int *seen = calloc((size_t)n, sizeof *seen), same = 0;
    int64_t *order = calloc((size_t)n, sizeof *order);
    for (int64_t i = 0; i < 2 * n; i++) {
        lpo_batch *b;
        cr_assert_eq(lpo_loader_next(&b, l, NULL, &err), LPO_OK);
        int64_t r = b->samples[0].record->index;
        seen[r]++;
        if (i < n)
            order[i] = r;
        else
            same += order[i - n] == r;
        if (i == n - 1)
            for (int64_t k = 0; k < n; k++) cr_expect_eq(seen[k], 1);
        lpo_loader_release(l, b);
    }
    cr_expect_lt(same, n);
    lpo_loader_destroy(l);
    free(order);
    free(seen);
}

/* Truth: a prompt holds exactly the pads its clip's merged grid asks for, questions about one video in a
 * batch share its clip, and a response ends in eos. */
Test(loader, sample_layout) {
    lpo_error err;
    lpo_loader *l;
    lpo_loader_options o = lpo_loader_options_default();
    o.batch_size = 4;
    cr_assert_eq(lpo_loader_create(&l, set, &recipe, &o, &err), LPO_OK);
    lpo_batch *b;
    cr_assert_eq(lpo_loader_next(&b, l, NULL, &err), LPO_OK, "%s", err.msg);
    cr_expect_eq(b->n_samples, 4);
    cr_expect_lt(b->n_clips, 4); /* file order: the first four questions are about one or two videos */
    for (int32_t i = 0; i < 4; i++) {
        const lpo_sample *s = &b->samples[i];
        const lpo_batch_clip *c = &b->clips[s->clip];
        int pads = 0;
        for (size_t k = 0; k < s->chosen.n; k++) pads += s->chosen.ids[k] == recipe.video_pad_id;
        cr_expect_eq(pads, c->grid_t * c->grid_h * c->grid_w / 4);
        cr_expect_eq(s->chosen.ids[s->chosen.n - 1], recipe.eos_id);
        cr_expect_gt(s->n_prompt, pads);
        cr_expect_eq(s->rejected.n, 0);
    }
    lpo_loader_release(l, b);
    lpo_loader_destroy(l);
}

/* Truth: validation rejects exactly the records whose video cannot be read or whose response is longer than
 * the context. */
Test(loader, validation_rejects_bad_records) {
    lpo_error err;
    char path[256], text[8192];
    char *longer = calloc(1, 6000);
    for (int i = 0; i < 1400; i++) strcat(longer, "red ");
    int n = snprintf(text, sizeof text,
                     "{\"video\":\"videos/000000.mp4\",\"question\":\"q\",\"answer\":\"red\"}\n"
                     "{\"video\":\"videos/none.mp4\",\"question\":\"q\",\"answer\":\"red\"}\n"
                     "{\"video\":\"videos/000000.mp4\",\"question\":\"q\",\"answer\":\"%s\"}\n",
                     longer);
    free(longer);
    snprintf(path, sizeof path, "%s/mixed.jsonl", dir);
    cr_assert_eq(lpo_file_write(path, text, (size_t)n, &err), LPO_OK);
    lpo_dataset_options o = lpo_dataset_options_default();
    o.max_bad = .9;
    lpo_dataset *d;
    cr_assert_eq(lpo_dataset_open(&d, path, &o, &err), LPO_OK);
    cr_assert_eq(lpo_dataset_validate(d, &recipe, 2, NULL, NULL, &err), LPO_OK, "%s", err.msg);
    cr_expect_eq(lpo_dataset_count(d), 1);
    cr_expect_eq(lpo_dataset_bad(d), 2);
    lpo_dataset_close(d);
}
