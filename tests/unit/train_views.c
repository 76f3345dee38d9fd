/* SPDX-License-Identifier: Apache-2.0 */
/* Videos are decoded ahead, once, and never more of them than there is memory for. */
#include "base/file.h"
#include "leanpo/world.h"
#include "train/pairs_views.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { VIDEOS = 6 };
static char dir[64];

static const char *video(int i) {
    static char path[VIDEOS][128];
    snprintf(path[i], sizeof path[i], "%s/videos/%06d.mp4", dir, i);
    return path[i];
}

static void set_up(void) {
    lpo_error err;
    lpo_world_options o = lpo_world_options_default();
    o.n_videos = VIDEOS;
    o.size_px = 56;
    strcpy(dir, "/tmp/lpo_viewsXXXXXX");
    cr_assert(mkdtemp(dir));
    cr_assert_eq(lpo_world_write(dir, &o, &err), LPO_OK, "%s", err.msg);
}

static void tear_down(void) {
    lpo_error err;
    lpo_dir_remove(dir, &err);
}
TestSuite(views, .init = set_up, .fini = tear_down);

static lpo_view_store *store(size_t idle_bytes, size_t taken_bytes) {
    lpo_error err;
    lpo_view_store *s;
    lpo_prep_options prep;
    lpo_view_choice aug;
    cr_assert_eq(lpo_prep_options_load(&prep, NULL, &err), LPO_OK, "%s", err.msg);
    prep.n_frames = 8;
    prep.target_h = prep.target_w = 56;
    cr_assert_eq(lpo_view_choice_parse(&aug, "reverse", &err), LPO_OK);
    cr_assert_eq(lpo_view_store_create(&s, &prep, &aug, 1, 1, idle_bytes, taken_bytes, &err), LPO_OK);
    return s;
}

static lpo_views *take(lpo_view_store *s, int i) {
    lpo_error err;
    lpo_views *v;
    cr_assert_eq(lpo_views_take(&v, s, video(i), video(i), &err), LPO_OK);
    return v;
}

static void wait_for(lpo_view_store *s, const lpo_views *v) {
    lpo_error err;
    cr_assert_eq(lpo_views_wait(s, v, &err), LPO_OK, "%s", err.msg);
    cr_assert(v->input[0].patches && v->input[1].patches);
}

/* Truth: a video that comes again is decoded once, while it is taken and while its frames are kept; not kept,
 * it is decoded anew. */
Test(views, decoded_once) {
    lpo_view_store *s = store((size_t)1 << 30, (size_t)1 << 30);
    for (int round = 0; round < 3; round++) {
        lpo_views *a = take(s, 0), *b = take(s, 0);
        cr_expect_eq(a, b);
        wait_for(s, a);
        cr_expect_gt(lpo_view_store_taken_bytes(s), 0);
        lpo_views_drop(s, a);
        lpo_views_drop(s, b);
        cr_expect_eq(lpo_view_store_taken_bytes(s), 0);
    }
    cr_expect_eq(lpo_view_store_decoded(s), 1);
    lpo_view_store_destroy(s);
    s = store(0, (size_t)1 << 30);
    for (int round = 0; round < 3; round++) {
        lpo_views *a = take(s, 0);
        wait_for(s, a);
        lpo_views_drop(s, a);
    }
    cr_expect_eq(lpo_view_store_decoded(s), 3);
    lpo_view_store_destroy(s);
}

/* Truth: beyond the memory given only what is waited for is decoded; dropping makes room, and what nobody has
 * begun costs nothing to drop. */
Test(views, memory_is_bounded) {
    lpo_view_store *s = store(0, 1);
    lpo_views *v[VIDEOS];
    for (int i = 0; i < VIDEOS; i++) v[i] = take(s, i);
    wait_for(s, v[0]);
    usleep(100000);
    cr_expect_eq(lpo_view_store_decoded(s), 1);
    cr_expect(!lpo_views_ready(s, v[1]));
    wait_for(s, v[4]);
    usleep(100000);
    cr_expect_eq(lpo_view_store_decoded(s), 2);
    lpo_views_drop(s, v[0]);
    lpo_views_drop(s, v[4]);
    for (int i = 0; i < 100 && !lpo_views_ready(s, v[1]); i++)
        usleep(20000); /* not waited for: there is room */
    cr_expect(lpo_views_ready(s, v[1]));
    usleep(100000);
    cr_expect_eq(lpo_view_store_decoded(s), 3);
    lpo_views_want(s, v[5]);
    for (int i = 0; i < 100 && !lpo_views_ready(s, v[5]); i++) usleep(20000);
    cr_expect(lpo_views_ready(s, v[5]) && !lpo_views_ready(s, v[2]));
    for (int i = 1; i < VIDEOS; i++)
        if (i != 4) lpo_views_drop(s, v[i]);
    cr_expect_eq(lpo_view_store_taken_bytes(s), 0);
    cr_expect_eq(lpo_view_store_decoded(s), 4);
    lpo_view_store_destroy(s);
}

/* Truth: a video that cannot be read says so to whoever waits, and is tried again when it is asked for again.
 */
Test(views, unreadable) {
    lpo_error err;
    lpo_view_store *s = store((size_t)1 << 30, (size_t)1 << 30);
    cr_assert_eq(rename(video(0), video(1)), 0);
    lpo_views *v = take(s, 0);
    cr_expect_neq(lpo_views_wait(s, v, &err), LPO_OK);
    cr_expect(strstr(err.msg, video(0)), "%s", err.msg);
    lpo_views_drop(s, v);
    cr_assert_eq(rename(video(1), video(0)), 0);
    v = take(s, 0);
    wait_for(s, v);
    lpo_views_drop(s, v);
    lpo_view_store_destroy(s);
}
