/* SPDX-License-Identifier: Apache-2.0 */
/* Truths: an answer has the same bits whatever runs beside it, in whatever order it came, however small the
 * cache, with one thread or two, and whether or not its beginning was computed for another; a clip is encoded
 * once and a common beginning computed once; a request that cannot be run is refused alone, with its reason.
 */
#include "kernels/cpu/cpu.h"
#include "model/generator.h"
#include "model/parts.h"
#include "model_tiny.h"

/* Wide enough in its vocabulary that products are worth two threads, long enough for several passes of prompt
 * rows. */
#define WIDE                                                                                                 \
    "{\"hidden_size\":48,\"intermediate_size\":40,\"num_hidden_layers\":2,\"vocab_size\":3000,"              \
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"max_position_embeddings\":4096,"                  \
    "\"initializer_range\":0.12,\"rope_scaling\":{\"mrope_section\":[2,2,2]},\"bos_token_id\":18,"           \
    "\"eos_token_id\":19,\"vision_start_token_id\":20,\"vision_end_token_id\":21,\"image_token_id\":23,"     \
    "\"video_token_id\":22,\"vision_config\":{\"depth\":2,\"embed_dim\":16,\"hidden_size\":48,"              \
    "\"num_heads\":2,\"mlp_ratio\":2,\"patch_size\":2}}"

enum { N_ASKS = 26, LONG = 2500, N_LONG = 2 };

/* Questions about three clips and about none; many begin alike, two alike to the last id. */
typedef struct asks {
    float patches[3][128 * 24];
    lpo_clip_input clips[3];
    int32_t ids[N_ASKS][LONG + 50];
    lpo_gen_request r[N_ASKS];
} asks;

static void make_asks(asks *a) {
    lpo_rng r = lpo_rng_init(11, 0);
    memset(a, 0, sizeof *a);
    for (int c = 0; c < 3; c++) {
        for (int i = 0; i < 128 * 24; i++) a->patches[c][i] = (float)lpo_rng_normal(&r);
        a->clips[c] = (lpo_clip_input){a->patches[c], 2 + c, 4, 4 + 4 * (c == 1), 1, NULL};
    }
    for (int i = 0; i < N_ASKS; i++) {
        const int c = i % 4 - 1; /* -1: none */
        int32_t n = 0, *ids = a->ids[i];
        for (int k = 0; k < 5; k++) ids[n++] = 100 + k;
        if (c >= 0) {
            ids[n++] = 20;
            for (int k = 0; k < a->clips[c].grid_t * a->clips[c].grid_h * a->clips[c].grid_w / 4; k++)
                ids[n++] = 22;
            ids[n++] = 21;
        }
        if (i >= N_ASKS - N_LONG)
            while (n < LONG) ids[n] = 200 + n % 1000, n++;
        const int own = i == 7 ? 3 : i; /* 3 and 7 are one prompt */
        for (int k = 0; k < 3 + own % 5; k++) ids[n++] = 30 + (own * 7 + k * 3) % 60;
        a->r[i] = (lpo_gen_request){.ids = ids,
                                    .n_ids = n,
                                    .clip = c < 0 ? NULL : &a->clips[c],
                                    .stream = (uint64_t)(40 + i),
                                    .options = lpo_gen_options_default(),
                                    .user = (uint64_t)i};
        a->r[i].options.max_tokens = i % 3 ? 4 + i : 1 + i / 3;
        a->r[i].options.temperature = i % 5 ? 1 : 0;
        a->r[i].options.top_k = i % 2 ? 40 : 0;
        a->r[i].options.seed = 6;
        a->r[i].options.n_valid = 2990;
    }
}

static lpo_model *wide_model(char **dir, const char *dtype) {
    *dir = temp_dir();
    make_small(*dir, WIDE);
    return open_small(*dir, "cpu", dtype);
}

static void drop(lpo_model *m, const char *dir) {
    lpo_error err = {0};
    lpo_model_destroy(m);
    MUST(lpo_dir_remove(dir, &err));
}

static void expect_same(const lpo_gen_seq *got, const lpo_gen_seq *want, int i, const char *how) {
    cr_assert_eq(got->n_ids, want->n_ids, "%s: request %d has %d ids, alone %d", how, i, got->n_ids,
                 want->n_ids);
    cr_assert_eq(got->finished, want->finished);
    cr_assert_arr_eq(got->ids, want->ids, (size_t)got->n_ids * sizeof *got->ids, "%s: ids of request %d", how,
                     i);
    cr_assert_arr_eq(got->logps, want->logps, (size_t)(got->n_ids + got->finished) * sizeof *got->logps,
                     "%s: logps of request %d", how, i);
}

/* `order` 0: as they are; 1: backwards; 2: six at first, then one for each answer. */
static void run_all(const asks *a, lpo_model *m, lpo_generator_options o, int order, const lpo_gen_seq *want,
                    lpo_generator_stats *stats) {
    lpo_error err = {0};
    lpo_generator *g;
    char how[96];
    snprintf(how, sizeof how, "%d at a time, %zu bytes, prefixes %s, order %d, %d threads", o.max_seqs,
             o.cache_bytes, o.no_prefix_cache ? "off" : "on", order, lpo_cpu_threads());
    MUST(lpo_generator_create(&g, m, &o, &err));
    int added = 0, first = order == 2 ? 6 : N_ASKS;
    for (; added < first; added++)
        MUST(lpo_generator_add(g, &a->r[order == 1 ? N_ASKS - 1 - added : added], &err));
    bool seen[N_ASKS] = {false};
    for (int done = 0; done < N_ASKS; done++) {
        lpo_gen_seq s;
        uint64_t i;
        cr_assert_eq(lpo_generator_pending(g), added - done);
        MUST(lpo_generator_next(&s, &i, g, &err));
        cr_assert(i < N_ASKS && !seen[i]);
        seen[i] = true;
        expect_same(&s, &want[i], (int)i, how);
        lpo_gen_seq_clear(&s);
        if (added < N_ASKS) MUST(lpo_generator_add(g, &a->r[added++], &err));
    }
    lpo_gen_seq s;
    uint64_t i;
    cr_assert_eq(lpo_generator_next(&s, &i, g, &err), LPO_EEND);
    lpo_generator_get_stats(stats, g);
    lpo_generator_destroy(g);
}

/* The reference: each request in a generator of its own. */
static void alone(lpo_gen_seq *want, const asks *a, lpo_model *m) {
    lpo_error err = {0};
    for (int i = 0; i < N_ASKS; i++) {
        lpo_generator *g;
        uint64_t user;
        MUST(lpo_generator_create(&g, m, &(lpo_generator_options){.no_prefix_cache = true}, &err));
        MUST(lpo_generator_add(g, &a->r[i], &err));
        MUST(lpo_generator_next(&want[i], &user, g, &err));
        lpo_generator_destroy(g);
    }
}

static void check_bits(const char *dtype) {
    static asks a;
    lpo_gen_seq want[N_ASKS];
    lpo_generator_stats st;
    char *dir;
    lpo_model *m = wide_model(&dir, dtype);
    make_asks(&a);
    lpo_kernels_cpu_threads(1);
    alone(want, &a, m);
    static const int at_once[] = {1, 3, 64};
    for (int k = 0; k < 3; k++)
        for (int plain = 0; plain < 2; plain++) {
            lpo_kernels_cpu_threads(1 + (k + plain) % 2);
            run_all(&a, m, (lpo_generator_options){.max_seqs = at_once[k], .no_prefix_cache = plain}, k, want,
                    &st);
            cr_assert_eq(st.shared_tokens > 0, !plain);
        }
    /* Room for the longest request and little else: beginnings are evicted, sequences wait for each other. */
    const size_t tight = (size_t)(a.r[N_ASKS - 1].n_ids + 60) * 2 * 2 * 2 * 12 * lpo_dtype_bytes(m->dtype);
    for (int plain = 0; plain < 2; plain++)
        run_all(&a, m, (lpo_generator_options){.max_seqs = 9, .cache_bytes = tight, .no_prefix_cache = plain},
                plain, want, &st);
    for (int i = 0; i < N_ASKS; i++) lpo_gen_seq_clear(&want[i]);
    lpo_kernels_cpu_threads(0);
    drop(m, dir);
}

Test(generator, the_same_bits_in_any_company_f32) {
    check_bits("f32");
}
Test(generator, the_same_bits_in_any_company_bf16) {
    check_bits("bf16");
}

/* Eight questions on one clip, all at once or one after the other: one encoding, and the rows up to where
 * they part computed once. Without the prefix cache: still one encoding. */
Test(generator, a_clip_is_computed_once) {
    static asks a;
    lpo_error err = {0};
    char *dir;
    lpo_model *m = wide_model(&dir, "f32");
    make_asks(&a);
    const int32_t part = a.r[1].n_ids - 4; /* request 1 has four ids of its own */
    for (int mode = 0; mode < 4; mode++) {
        const lpo_generator_options o = {.max_seqs = mode & 1 ? 1 : 8, .no_prefix_cache = mode & 2};
        lpo_generator *g;
        lpo_generator_stats st;
        int64_t prompt = 0, made = 0;
        MUST(lpo_generator_create(&g, m, &o, &err));
        for (int i = 0; i < 8; i++) {
            lpo_gen_request r = a.r[1];
            int32_t ids[64];
            memcpy(ids, r.ids, (size_t)part * sizeof *ids);
            for (int k = 0; k < 2 + i; k++) ids[part + k] = 300 + 10 * i + k;
            r.ids = ids;
            r.n_ids = part + 2 + i;
            prompt += r.n_ids;
            MUST(lpo_generator_add(g, &r, &err));
        }
        for (int i = 0; i < 8; i++) {
            lpo_gen_seq s;
            uint64_t user;
            MUST(lpo_generator_next(&s, &user, g, &err));
            made += s.n_ids + s.finished;
            lpo_gen_seq_clear(&s);
        }
        lpo_generator_get_stats(&st, g);
        cr_assert_eq(st.clips, 1, "mode %d: %d encodings", mode, (int)st.clips);
        cr_assert_eq(st.prompt_tokens, prompt);
        cr_assert_eq(st.new_tokens, made);
        cr_assert_eq(st.shared_tokens, mode & 2 ? 0 : 7 * part, "mode %d: %d shared tokens", mode,
                     (int)st.shared_tokens);
        lpo_generator_destroy(g);
    }
    drop(m, dir);
}

/* A question about an answer: what the clip became is still there when the answer was asked for with more to
 * come, and gone one answer later. */
Test(generator, more_may_follow) {
    static asks a;
    lpo_error err = {0};
    char *dir;
    lpo_model *m = wide_model(&dir, "f32");
    make_asks(&a);
    for (int more = 0; more < 3; more++) { /* 2: and then let go */
        lpo_generator *g;
        lpo_generator_stats st;
        lpo_gen_seq s;
        uint64_t user;
        static const int order[] = {1, 5, 0, 9}; /* 1, 5, 9 on one clip, 0 on none */
        MUST(lpo_generator_create(&g, m, NULL, &err));
        for (int i = 0; i < 4; i++) {
            lpo_gen_request r = a.r[order[i]];
            r.more = more && i == 0;
            MUST(lpo_generator_add(g, &r, &err));
            MUST(lpo_generator_next(&s, &user, g, &err));
            lpo_gen_seq_clear(&s);
            if (more == 2) lpo_generator_let_go(g);
        }
        lpo_generator_get_stats(&st, g);
        cr_assert_eq(st.clips, more == 1 ? 2 : 3, "more %d: %d encodings", more, (int)st.clips);
        cr_assert_eq(st.shared_tokens > 0, more == 1);
        lpo_generator_destroy(g);
    }
    drop(m, dir);
}

static void refused(lpo_generator *g, lpo_gen_request r, lpo_status want, const char *says) {
    lpo_error err = {0};
    cr_expect_eq(lpo_generator_add(g, &r, &err), want, "%s: %d", says, (int)err.code);
    cr_expect(strstr(err.msg, says), "\"%s\" does not say \"%s\"", err.msg, says);
}

Test(generator, refuses_one_and_runs_the_others) {
    static asks a;
    static int32_t many[4096];
    lpo_error err = {0};
    char *dir;
    lpo_model *m = wide_model(&dir, "f32");
    make_asks(&a);
    const size_t row = 2 * 2 * 2 * 12 * sizeof(float);
    lpo_generator *g;
    MUST(lpo_generator_create(&g, m, &(lpo_generator_options){.cache_bytes = 100 * row}, &err));
    lpo_gen_request r = a.r[0], bad = r;
    MUST(lpo_generator_add(g, &r, &err));
    bad.ids = many;
    bad.n_ids = 4096;
    refused(g, bad, LPO_EINVAL, "leaves no room for an answer in the context of 4096");
    bad.n_ids = 90;
    bad.options.max_tokens = 30;
    refused(g, bad, LPO_ELIMIT, "90 prompt and 30 answer tokens x 384 bytes (2 layers)");
    bad = r;
    bad.n_ids = 0;
    refused(g, bad, LPO_EINVAL, "a prompt of 0");
    bad = a.r[1];
    bad.clip = &a.clips[1];
    refused(g, bad, LPO_EINVAL, "grid 3 x 4 x 8 makes 24 tokens");
    bad.clip = NULL;
    refused(g, bad, LPO_EINVAL, "8 video pads but no clip");
    many[3] = 3000;
    bad = r;
    bad.ids = many;
    refused(g, bad, LPO_EINVAL, "id 3000, outside the vocabulary of 3000");
    bad = r;
    bad.options.top_p = 0;
    refused(g, bad, LPO_EINVAL, "top_p 0");
    bad = r;
    bad.options.max_tokens = 0;
    refused(g, bad, LPO_EINVAL, "max_tokens is 0");
    cr_assert_eq(lpo_generator_pending(g), 1);
    lpo_gen_seq s;
    uint64_t user;
    MUST(lpo_generator_next(&s, &user, g, &err));
    cr_assert_eq(user, r.user);
    lpo_gen_seq_clear(&s);
    lpo_generator_destroy(g);
    cr_assert_eq(lpo_generator_create(&g, m, &(lpo_generator_options){.max_seqs = -1}, &err), LPO_EINVAL);
    drop(m, dir);
}

/* Ends request 2 with its third token; cancels at the sixth of request 5 when told to. */
typedef struct listener {
    int heard[N_ASKS];
    bool cancel;
} listener;

static int hear(void *user, int seq, int32_t id) {
    listener *l = user;
    (void)id;
    l->heard[seq]++;
    if (seq == 2 && l->heard[2] == 3) return LPO_TOKEN_LAST;
    return l->cancel && seq == 5 && l->heard[5] == 6;
}

Test(generator, a_listener_ends_one_or_all) {
    static asks a;
    lpo_error err = {0};
    char *dir;
    lpo_model *m = wide_model(&dir, "f32");
    make_asks(&a);
    lpo_gen_seq want[N_ASKS];
    alone(want, &a, m);
    for (int cancel = 0; cancel < 2; cancel++) {
        listener l = {.cancel = cancel};
        lpo_generator *g;
        lpo_gen_seq s;
        uint64_t i;
        lpo_status st;
        MUST(lpo_generator_create(&g, m, NULL, &err));
        for (int k = 0; k < N_ASKS; k++) {
            lpo_gen_request r = a.r[k];
            r.fn = hear;
            r.fn_user = &l;
            MUST(lpo_generator_add(g, &r, &err));
        }
        while (!(st = lpo_generator_next(&s, &i, g, &err))) {
            cr_assert_eq(l.heard[i], s.n_ids);
            cr_assert_eq(s.stopped, i == 2);
            cr_assert_eq(s.n_ids, i == 2 ? 3 : want[i].n_ids);
            cr_assert_arr_eq(s.ids, want[i].ids, (size_t)s.n_ids * sizeof *s.ids);
            lpo_gen_seq_clear(&s);
        }
        cr_assert_eq(st, cancel ? LPO_ECANCELED : LPO_EEND);
        lpo_generator_destroy(g);
    }
    for (int i = 0; i < N_ASKS; i++) lpo_gen_seq_clear(&want[i]);
    drop(m, dir);
}
