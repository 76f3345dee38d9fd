/* SPDX-License-Identifier: Apache-2.0 */
/* model_tiny.h -- what the model tests share: a temporary folder, a model of a few thousand parameters, a
 * batch with a clip two sequences share, a second clip and a sequence without one. */
#ifndef TESTS_MODEL_TINY_H
#define TESTS_MODEL_TINY_H
#include "base/file.h"
#include "base/rng.h"
#include "model/model.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(call)                                                                                           \
    do {                                                                                                     \
        lpo_status must_ = (call);                                                                           \
        cr_assert_eq(must_, LPO_OK, "%s: %s", #call, err.msg);                                               \
    } while (0)

/* Wide initial weights: distributions far from uniform, gradients far from zero. Video pad 22, end of
 * sequence 19. */
#define SMALL_CONFIG                                                                                         \
    "\"hidden_size\":16,\"intermediate_size\":12,\"num_hidden_layers\":2,\"vocab_size\":24,"                 \
    "\"num_attention_heads\":2,\"num_key_value_heads\":1,\"max_position_embeddings\":64,"                    \
    "\"initializer_range\":0.35,\"rope_scaling\":{\"mrope_section\":[1,2,1]},\"bos_token_id\":18,"           \
    "\"eos_token_id\":19,\"vision_start_token_id\":20,\"vision_end_token_id\":21,\"image_token_id\":23,"     \
    "\"video_token_id\":22,\"vision_config\":{\"depth\":2,\"embed_dim\":16,\"hidden_size\":16,"              \
    "\"num_heads\":2,\"mlp_ratio\":2,\"patch_size\":2}"
#define TIED   "{" SMALL_CONFIG "}"
#define UNTIED "{" SMALL_CONFIG ",\"tie_word_embeddings\":false}"

static inline char *temp_dir(void) {
    static char dir[] = "/tmp/leanpo-model-XXXXXX";
    cr_assert(mkdtemp(dir));
    return dir;
}

static inline void make_small(const char *dir, const char *config) {
    lpo_error err = {0};
    MUST(lpo_model_init(dir, &(lpo_init_options){.size = "tiny", .config = config, .seed = 5}, &err));
}

static inline lpo_model *open_small(const char *dir, const char *place, const char *dtype) {
    lpo_error err = {0};
    lpo_model *m;
    MUST(lpo_model_load(&m, dir, &(lpo_model_options){.place = place, .dtype = dtype}, &err));
    return m;
}

static inline size_t param_count(const lpo_param *p) {
    return (size_t)p->shape[0] * (size_t)(p->ndim == 2 ? p->shape[1] : 1);
}

/* A parameter's or gradient's bytes (host devices). */
static inline void *host_of(lpo_buffer *b, size_t offset_bytes) {
    return (char *)((lpo_buffer_head *)b)->host + offset_bytes;
}

enum { N_CLIPS = 2, N_SEQS = 4 };
typedef struct small_batch {
    float patches[2][3 * 16 * 24];
    lpo_clip_input clips[N_CLIPS];
    int32_t ids[N_SEQS][40];
    lpo_seq_input seqs[N_SEQS];
    lpo_model_batch batch;
} small_batch;

static inline void fill_batch(small_batch *b) {
    lpo_rng r = lpo_rng_init(3, 0);
    const int32_t clip_of[N_SEQS] = {1, 0, -1, 1}, n_response[N_SEQS] = {4, 3, 5, 1};
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < 3 * 16 * 24; k++) b->patches[i][k] = (float)lpo_rng_normal(&r);
    b->clips[0] = (lpo_clip_input){b->patches[0], 2, 2, 4, 1, NULL};
    b->clips[1] = (lpo_clip_input){b->patches[1], 3, 4, 2, 1, NULL};
    for (int s = 0; s < N_SEQS; s++) {
        int32_t n = 0, *ids = b->ids[s];
        for (int i = 0; i < 3; i++) ids[n++] = (int32_t)lpo_rng_below(&r, 18);
        if (clip_of[s] >= 0) {
            const lpo_clip_input *c = &b->clips[clip_of[s]];
            ids[n++] = 20;
            for (int i = 0; i < c->grid_t * c->grid_h * c->grid_w / 4; i++) ids[n++] = 22;
            ids[n++] = 21;
        }
        ids[n++] = (int32_t)lpo_rng_below(&r, 18);
        b->seqs[s] = (lpo_seq_input){ids, n + n_response[s], n, clip_of[s]};
        for (int i = 0; i < n_response[s]; i++) ids[n++] = (int32_t)lpo_rng_below(&r, 18);
    }
    b->batch = (lpo_model_batch){b->clips, b->seqs, N_CLIPS, N_SEQS};
}
#endif
