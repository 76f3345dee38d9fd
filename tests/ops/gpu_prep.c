/* SPDX-License-Identifier: Apache-2.0 */
/* gpu_prep.c -- frames preprocessed on a GPU are the reference's, byte for byte. Skips aloud without a
 * device. */
#include <criterion/criterion.h>

#include "../unit/prep_frames.h"
#include "gpu_open.h"
#include "leanpo/prep.h"

#include <pthread.h>

static lpo_prep_engine *open_engine(void) {
    lpo_prep_engine *e;
    lpo_device_close(gpu_open()); /* skips where there is none */
    MUST(lpo_prep_engine_open(&e, gpu_driver()->name, NULL, &err));
    return e;
}

/* Truth: 0 bytes differ from the reference over random frames of every format, pitch, crop, scale down to
 * 1/40 and up, augmentation and both modes. A batch is longer than the queue, and sizes alternate, so buffers
 * grow while work is queued. */
Test(gpu_prep, same_bytes_as_the_reference) {
    lpo_prep_engine *e = open_engine();
    for (int i = 0; i < 8; i++)
        prep_cases_run(e, 40, (prep_limits){i ? 90 : 300, i ? 90 : 200, 90, 40, false});
    prep_cases_run(e, 1, (prep_limits){1920, 1080, 300, 13, false});
    lpo_prep_engine_close(e);
}

/* What lpo_prep_view does: one set of tables for all frames of a size. Results lie side by side. */
typedef struct clip {
    prep_case first;
    prep_limits limits;
    lpo_prep_engine *engine;
    uint8_t *got, *want;
    int n;
} clip;

static void clip_open(clip *c, lpo_prep_engine *e, int n) {
    *c = (clip){.first = prep_case_random((prep_limits){100, 100, 60, 13, false}), .engine = e, .n = n};
    const size_t bytes = prep_case_bytes(&c->first);
    c->got = prep_memory((size_t)n * bytes);
    c->want = prep_memory((size_t)n * bytes);
    uint8_t *work = prep_memory(lpo_prep_workspace_bytes(&c->first.a));
    for (int i = 0; i < n; i++) {
        c->first.a.noise_key[0] = (uint32_t)i;
        lpo_ref_preprocess_frame(c->want + (size_t)i * bytes, &c->first.a, work);
    }
    free(work);
}

static void *clip_run(void *user) {
    clip *c = user;
    lpo_error why;
    lpo_prep_frame_args a = c->first.a;
    void *batch = NULL;
    lpo_status s = LPO_OK;
    for (int i = 0; i < c->n && !s; i++) {
        a.noise_key[0] = (uint32_t)i;
        s = c->engine->submit(c->engine->self, &batch, c->got + (size_t)i * prep_case_bytes(&c->first), &a,
                              &why);
    }
    if (!s) s = c->engine->finish(c->engine->self, batch, &why);
    return s ? "failed" : NULL;
}

/* Truth: many videos at a time, each on its own thread, more of them than the engine has slots, get their own
 * frames and nothing else; and over 40 sizes the tables that nobody uses are forgotten and made again. */
Test(gpu_prep, videos_from_many_threads) {
    enum { THREADS = 5, ROUNDS = 8 };
    lpo_prep_engine *e = open_engine();
    for (int r = 0; r < ROUNDS; r++) {
        clip c[THREADS];
        pthread_t t[THREADS];
        for (int i = 0; i < THREADS; i++) clip_open(&c[i], e, 3 + 7 * i);
        for (int i = 0; i < THREADS; i++) cr_assert_eq(pthread_create(&t[i], NULL, clip_run, &c[i]), 0);
        for (int i = 0; i < THREADS; i++) {
            void *failed;
            pthread_join(t[i], &failed);
            cr_assert_null(failed);
            cr_expect_eq(memcmp(c[i].got, c[i].want, (size_t)c[i].n * prep_case_bytes(&c[i].first)), 0,
                         "round %d, clip %d: other bytes", r, i);
            prep_case_free(&c[i].first);
            free(c[i].got);
            free(c[i].want);
        }
    }
    lpo_prep_engine_close(e);
}

/* Truth: a frame the device has no memory for is an error in words when the batch ends, which the engine
 * survives. */
Test(gpu_prep, out_of_memory_is_an_error) {
    lpo_prep_engine *e = open_engine();
    prep_case c = prep_case_random((prep_limits){40, 40, 40, 13, false});
    lpo_prep_frame_args a = c.a;
    void *batch = NULL;
    a.crop_h = 1 << 30; /* never read: the buffers are wanted first */
    a.crop_w = 1 << 20;
    cr_assert_eq(e->submit(e->self, &batch, c.got, &a, &err), LPO_OK, "%s", err.msg);
    cr_assert_eq(e->finish(e->self, batch, &err), LPO_ENOMEM, "%s", err.msg);
    cr_expect(strstr(err.msg, "out of memory"), "%s", err.msg);
    prep_case_free(&c);
    prep_cases_run(e, 3, (prep_limits){40, 40, 40, 13, false});
    lpo_prep_engine_close(e);
}

/* Truth: a device that does not run the dialect is refused by name, and one that is not there. */
Test(gpu_prep, other_devices_are_refused) {
    lpo_prep_engine *e;
    cr_expect_eq(lpo_prep_engine_open(&e, "cpu", NULL, &err), LPO_EUNSUPPORTED);
    cr_expect_eq(lpo_prep_engine_open(&e, "opencl:99", NULL, &err), LPO_ENOTFOUND);
    cr_expect_eq(lpo_prep_engine_open(&e, "gpu", NULL, &err), LPO_EINVAL);
}
