/* SPDX-License-Identifier: Apache-2.0 */
/* Truths: what is saved is what was loaded, bit for bit, under the names it had; a folder that does not hold
 * the model its config.json describes is refused by name; the public sizes have the public parameter counts.
 */
#include "model/parts.h"
#include "model_tiny.h"
#include "tensor/dtype.h"
#include "tensor/safetensors.h"

#include <unistd.h>

static void path_of(char out[256], const char *dir, const char *name) {
    snprintf(out, 256, "%s/%s", dir, name);
}

static bool same_file(const char *a, const char *b) {
    lpo_error err = {0};
    char *x, *y;
    size_t n, k;
    MUST(lpo_file_read(&x, &n, a, 1 << 24, &err));
    MUST(lpo_file_read(&y, &k, b, 1 << 24, &err));
    const bool same = n == k && !memcmp(x, y, n);
    free(x);
    free(y);
    return same;
}

/* dir's tensors, renamed by `rename` (from, to prefixes; NULL ends) and without `drop`, in `dtype`, written
 * to `to` with config.json beside them. */
static void rewrite(const char *to, const char *dir, const char *const *rename, const char *drop,
                    int32_t dtype) {
    lpo_error err = {0};
    lpo_safetensors *f;
    char path[256];
    MUST(lpo_dir_create(to, &err));
    MUST(lpo_safetensors_open(&f, dir, &err));
    lpo_tensor_info out[128];
    static char names[128][128];
    int n = 0;
    for (int i = 0; i < lpo_safetensors_count(f); i++) {
        const lpo_tensor_info *t = lpo_safetensors_at(f, i);
        if (drop && !strcmp(t->name, drop)) continue;
        out[n] = *t;
        snprintf(names[n], 128, "%s", t->name);
        for (const char *const *r = rename; r && *r; r += 2)
            if (!strncmp(t->name, r[0], strlen(r[0]))) {
                snprintf(names[n], 128, "%s%s", r[1], t->name + strlen(r[0]));
                break;
            }
        out[n].name = names[n];
        int64_t count = 1;
        for (int k = 0; k < t->ndim; k++) count *= t->shape[k];
        void *data = malloc((size_t)count * 8);
        MUST(lpo_dtype_convert(data, dtype, t->data, t->dtype, count, &err));
        out[n].data = data;
        out[n].dtype = dtype;
        out[n++].size_bytes = (size_t)count * lpo_dtype_bytes(dtype);
    }
    path_of(path, to, "model.safetensors");
    MUST(lpo_safetensors_write(path, out, n, NULL, NULL, &err));
    for (int i = 0; i < n; i++) free((void *)out[i].data);
    lpo_safetensors_close(f);
    json_t *j;
    path_of(path, dir, "config.json");
    MUST(lpo_json_load(&j, path, 1 << 20, &err));
    path_of(path, to, "config.json");
    MUST(lpo_json_save(j, path, &err));
    json_decref(j);
}

/* f32 in, f32 out: the same bytes in every file, the sharded form included. */
Test(folder, round_trip) {
    lpo_error err = {0};
    char *dir = temp_dir(), other[256], a[256], b[256];
    make_small(dir, UNTIED);
    path_of(other, dir, "copy");
    lpo_model *m = open_small(dir, "cpu", "f32");
    MUST(lpo_model_save(m, other, NULL, &err));
    static const char *const names[] = {"model.safetensors", "config.json", "generation_config.json",
                                        "preprocessor_config.json"};
    for (int i = 0; i < 4; i++) {
        path_of(a, dir, names[i]);
        path_of(b, other, names[i]);
        cr_assert(same_file(a, b), "%s", names[i]);
    }
    MUST(lpo_model_save(m, other, "bf16", &err)); /* narrower, over the old one */
    lpo_model *narrow = open_small(other, "cpu", "f32");
    int n;
    lpo_param *const *p = lpo_model_params(m, &n), *const *q = lpo_model_params(narrow, &n);
    for (int i = 0; i < n; i++) {
        const float *x = host_of(p[i]->data, 0), *y = host_of(q[i]->data, 0);
        for (size_t k = 0; k < param_count(p[i]); k++)
            cr_assert_leq(fabsf(x[k] - y[k]), 0x1p-8f * fabsf(x[k]), "%s", p[i]->name);
    }
    lpo_model_destroy(narrow);
    lpo_model_destroy(m);
    m = open_small(other, "cpu", "bf16");
    path_of(a, dir, "again");
    MUST(lpo_model_save(m, a, NULL, &err));
    path_of(a, dir, "again/model.safetensors");
    path_of(b, other, "model.safetensors");
    cr_assert(same_file(a, b));
    lpo_model_destroy(m);
    MUST(lpo_dir_remove(dir, &err));
}

static lpo_status zeros(void *user, void *dst, const lpo_slot *s, const lpo_part *p, lpo_error *err) {
    (void)err;
    size_t n = (size_t)p->rows * (size_t)(s->p.ndim == 2 ? s->p.shape[1] : 1);
    for (size_t i = 0; i < n; i++) ((float *)dst)[i] = (float)((*(int *)user)++ % 1000);
    return LPO_OK;
}

/* Shards of at most 4 KiB hold the same tensors as one file, and one file written later replaces them. */
Test(folder, shards) {
    lpo_error err = {0};
    char *dir = temp_dir(), path[256];
    make_small(dir, TIED);
    lpo_model *m = open_small(dir, "cpu", "f32");
    lpo_safetensors *f;
    int at = 0;
    MUST(lpo_weights_write(dir, &m->layout, m->style, LPO_F32, 4096, zeros, &at, &err));
    path_of(path, dir, "model.safetensors");
    cr_assert_not(lpo_path_exists(path));
    lpo_model *shards = open_small(dir, "cpu", "f32");
    at = 0;
    MUST(lpo_weights_write(dir, &m->layout, m->style, LPO_F32, 1 << 30, zeros, &at, &err));
    path_of(path, dir, "model.safetensors.index.json");
    cr_assert_not(lpo_path_exists(path));
    lpo_model *whole = open_small(dir, "cpu", "f32");
    int n;
    lpo_param *const *p = lpo_model_params(shards, &n), *const *q = lpo_model_params(whole, &n);
    for (int i = 0; i < n; i++)
        cr_assert_arr_eq(host_of(p[i]->data, 0), host_of(q[i]->data, 0), param_count(p[i]) * 4, "%s",
                         p[i]->name);
    MUST(lpo_safetensors_open(&f, dir, &err));
    cr_assert_not(lpo_safetensors_find(f, "lm_head.weight"), "a tied model has no head of its own");
    lpo_safetensors_close(f);
    lpo_model_destroy(whole);
    lpo_model_destroy(shards);
    lpo_model_destroy(m);
    MUST(lpo_dir_remove(dir, &err));
}

/* Fused parameters are the disk's tensors one below the other. */
Test(folder, fusion) {
    lpo_error err = {0};
    char *dir = temp_dir();
    make_small(dir, TIED);
    lpo_model *m = open_small(dir, "cpu", "f32");
    lpo_safetensors *f;
    MUST(lpo_safetensors_open(&f, dir, &err));
    const char *qkv = host_of(m->layout.text[1].qkv_w->data, 0),
               *up = host_of(m->layout.text[1].up_w->data, 0);
    const lpo_tensor_info *q = lpo_safetensors_find(f, "model.layers.1.self_attn.q_proj.weight"),
                          *k = lpo_safetensors_find(f, "model.layers.1.self_attn.k_proj.weight"),
                          *v = lpo_safetensors_find(f, "model.layers.1.self_attn.v_proj.weight"),
                          *gate = lpo_safetensors_find(f, "model.layers.1.mlp.gate_proj.weight"),
                          *u = lpo_safetensors_find(f, "model.layers.1.mlp.up_proj.weight");
    cr_assert(q && k && v && gate && u);
    cr_assert_arr_eq(qkv, q->data, q->size_bytes);
    cr_assert_arr_eq(qkv + q->size_bytes, k->data, k->size_bytes);
    cr_assert_arr_eq(qkv + q->size_bytes + k->size_bytes, v->data, v->size_bytes);
    cr_assert_arr_eq(up, gate->data, gate->size_bytes);
    cr_assert_arr_eq(up + gate->size_bytes, u->data, u->size_bytes);
    lpo_safetensors_close(f);
    lpo_model_destroy(m);
    MUST(lpo_dir_remove(dir, &err));
}

/* Both spellings load; a save uses the spelling that was read. f16 and f64 on disk load too. */
Test(folder, names_and_dtypes) {
    lpo_error err = {0};
    char *dir = temp_dir(), nested[256], saved[256];
    make_small(dir, UNTIED);
    static const char *const rename[] = {"visual.", "model.visual.", "model.", "model.language_model.", NULL};
    path_of(nested, dir, "nested");
    path_of(saved, dir, "saved");
    static const int32_t types[] = {LPO_F32, LPO_F64, LPO_BF16, LPO_F16};
    lpo_model *first = open_small(dir, "cpu", "f32");
    for (int i = 0; i < 4; i++) {
        rewrite(nested, dir, rename, NULL, types[i]);
        lpo_model *m = open_small(nested, "cpu", "f32");
        int n;
        lpo_param *const *p = lpo_model_params(m, &n), *const *q = lpo_model_params(first, &n);
        for (int k = 0; k < n; k++) {
            const float *x = host_of(p[k]->data, 0), *y = host_of(q[k]->data, 0);
            /* bf16 keeps 8 bits, f16 11 (and its smallest numbers are 6e-8 apart) */
            const float eps = types[i] == LPO_BF16 ? 0x1p-8f : types[i] == LPO_F16 ? 0x1p-11f : 0;
            for (size_t e = 0; e < param_count(p[k]); e++)
                cr_assert_leq(fabsf(x[e] - y[e]), eps * fabsf(y[e]) + (eps > 0 ? 6e-8f : 0), "%s",
                              p[k]->name);
        }
        MUST(lpo_model_save(m, saved, NULL, &err));
        lpo_model_destroy(m);
        lpo_safetensors *f;
        MUST(lpo_safetensors_open(&f, saved, &err));
        cr_assert(lpo_safetensors_find(f, "model.visual.patch_embed.proj.weight"));
        cr_assert(lpo_safetensors_find(f, "model.language_model.norm.weight"));
        cr_assert(lpo_safetensors_find(f, "lm_head.weight"));
        cr_assert_eq(lpo_safetensors_find(f, "model.visual.patch_embed.proj.weight")->ndim, 5);
        lpo_safetensors_close(f);
    }
    lpo_model_destroy(first);
    MUST(lpo_dir_remove(dir, &err));
}

static void refused(const char *dir, const char *word) {
    lpo_error err = {0};
    lpo_model *m;
    cr_assert_neq(lpo_model_load(&m, dir, NULL, &err), LPO_OK, "expected an error about %s", word);
    cr_assert_null(m);
    cr_assert(strstr(err.msg, word), "\"%s\" does not name %s", err.msg, word);
}

Test(folder, wrong_tensors_are_named) {
    lpo_error err = {0};
    char *dir = temp_dir(), bad[256], path[256];
    make_small(dir, UNTIED);
    path_of(bad, dir, "bad");
    rewrite(bad, dir, NULL, "model.layers.1.self_attn.k_proj.bias", LPO_F32);
    refused(bad, "model.layers.1.self_attn.k_proj.bias is missing");
    rewrite(bad, dir, NULL, "lm_head.weight", LPO_F32);
    refused(bad, "lm_head.weight");
    rewrite(bad, dir, NULL, NULL, LPO_F32);
    json_t *j;
    path_of(path, bad, "config.json");
    MUST(lpo_json_load(&j, path, 1 << 20, &err));
    json_object_set_new(j, "vocab_size", json_integer(25));
    MUST(lpo_json_save(j, path, &err));
    json_decref(j);
    refused(bad, "model.embed_tokens.weight is [24, 16], but config.json asks for [25, 16]");
    path_of(path, bad, "model.safetensors");
    unlink(path);
    refused(bad, "bad");
    refused("/nonexistent/folder", "/nonexistent/folder");
    lpo_model *m;
    cr_assert_eq(lpo_model_load(&m, dir, &(lpo_model_options){.place = "cpu", .dtype = "f64"}, &err),
                 LPO_EUNSUPPORTED);
    cr_assert_neq(lpo_model_load(&m, dir, &(lpo_model_options){.place = "gpx", .dtype = "f32"}, &err),
                  LPO_OK);
    cr_assert(strstr(err.msg, "gpx"), "%s", err.msg);
    MUST(lpo_dir_remove(dir, &err));
}

/* Without tie_word_embeddings in config.json, the head's presence decides. */
Test(folder, tying_is_found_out) {
    lpo_error err = {0};
    char *dir = temp_dir(), path[256];
    static const char *const configs[] = {TIED, UNTIED};
    lpo_model_info info;
    for (int i = 0; i < 2; i++) {
        make_small(dir, configs[i]);
        MUST(lpo_model_peek(&info, dir, &err));
        const int64_t said = info.n_params;
        json_t *j;
        path_of(path, dir, "config.json");
        MUST(lpo_json_load(&j, path, 1 << 20, &err));
        json_object_del(j, "tie_word_embeddings");
        MUST(lpo_json_save(j, path, &err));
        json_decref(j);
        MUST(lpo_model_peek(&info, dir, &err));
        cr_assert_eq(info.n_params, said);
        lpo_model *m = open_small(dir, "cpu", "f32");
        cr_assert_eq(m->layout.head_w == m->layout.embed_w, i == 0);
        lpo_model_destroy(m);
    }
    MUST(lpo_dir_remove(dir, &err));
}

/* A clone is equal and separate, and outlives the original. */
Test(folder, clone) {
    lpo_error err = {0};
    char *dir = temp_dir();
    make_small(dir, TIED);
    lpo_model *m = open_small(dir, "cpu", "bf16"), *c;
    MUST(lpo_model_set_trainable(m, "all", &err));
    MUST(lpo_model_clone(&c, m, &err));
    int n;
    lpo_param *const *p = lpo_model_params(m, &n), *const *q = lpo_model_params(c, &n);
    for (int i = 0; i < n; i++) {
        cr_assert_arr_eq(host_of(p[i]->data, 0), host_of(q[i]->data, 0), param_count(p[i]) * 2);
        cr_assert_neq(p[i]->data, q[i]->data);
        cr_assert_not(q[i]->trainable);
    }
    lpo_model_destroy(m);
    lpo_model_info info;
    lpo_model_get_info(&info, c);
    cr_assert_eq(info.n_eos, 2);
    cr_assert_str_eq(info.dir, dir);
    lpo_model_destroy(c);
    MUST(lpo_dir_remove(dir, &err));
}

/* Public sizes, from shapes alone: parameters of all, and of what is not the decoder. */
static void check_count(const char *family, const char *size, int64_t all, int64_t vision) {
    lpo_error err = {0};
    json_t *j;
    lpo_model_config c;
    lpo_layout l;
    MUST(lpo_config_of_size(&j, lpo_family_named(family), size, NULL, &err));
    MUST(lpo_config_parse(&c, j, size, &err));
    MUST(lpo_layout_create(&l, &c, &err));
    cr_expect_eq(lpo_layout_count(&l, false), all, "%s %s: %lld", family, size,
                 (long long)lpo_layout_count(&l, false));
    cr_expect_eq(lpo_layout_count(&l, true), vision, "%s %s: %lld", family, size,
                 (long long)lpo_layout_count(&l, true));
    lpo_layout_clear(&l);
    json_decref(j);
}

/* CLIP-L/14-336 with the layer and norm LLaVA does not run has 303,507,456 parameters, SigLIP so400m without
 * its last layer and head 397,747,744; projectors 20,979,712 and 16,980,992; the newline rows one width. */
Test(sizes, parameter_counts) {
    check_count("qwen2_vl", "2b", 2208985600, 665271296);
    check_count("qwen2_vl", "7b", 8291375616, 675759104);
    check_count("qwen2_5_vl", "7b", 8292166656, 676550144);
    check_count("llava_next_video", "7b", 7063431168, 303507456 + 20979712 + 4096);
    check_count("llava_video", "7b", 8030348832, 397747744 + 16980992 + 3584);
}

/* The same seed gives the same folder; another seed another; dtype and tokenizer ids are honoured. */
Test(init, is_seeded_and_takes_the_tokenizer) {
    lpo_error err = {0};
    char *dir = temp_dir(), a[256], b[256], tok[256];
    static const char tokenizer[] =
        "{\"added_tokens\":[{\"id\":40,\"content\":\"<|endoftext|>\"},{\"id\":41,\"content\":\"<|im_end|>\"},"
        "{\"id\":42,\"content\":\"<|vision_start|>\"},{\"id\":43,\"content\":\"<|vision_end|>\"},"
        "{\"id\":44,\"content\":\"<|video_pad|>\"}],\"model\":{\"vocab\":{\"a\":0,\"b\":39}}}";
    path_of(tok, dir, "tok.json");
    MUST(lpo_file_write(tok, tokenizer, sizeof tokenizer - 1, &err));
    const lpo_init_options o = {.size = "tiny", .tokenizer = tok, .seed = 1, .dtype = "bf16"};
    path_of(a, dir, "a");
    path_of(b, dir, "b");
    MUST(lpo_model_init(a, &o, &err));
    MUST(lpo_model_init(b, &o, &err));
    path_of(a, dir, "a/model.safetensors");
    path_of(b, dir, "b/model.safetensors");
    cr_assert(same_file(a, b));
    lpo_init_options other = o;
    other.seed = 2;
    path_of(b, dir, "b");
    MUST(lpo_model_init(b, &other, &err));
    path_of(b, dir, "b/model.safetensors");
    cr_assert_not(same_file(a, b));
    path_of(a, dir, "a");
    lpo_model_info info;
    MUST(lpo_model_peek(&info, a, &err));
    cr_assert_eq(info.vocab_size, 45);
    cr_assert_eq(info.video_pad_id, 44);
    cr_assert_eq(info.vision_start_id, 42);
    cr_assert_eq(info.n_eos, 2);
    cr_assert_eq(info.eos_ids[0], 41);
    cr_assert_eq(info.eos_ids[1], 40);
    path_of(b, dir, "a/tokenizer.json");
    cr_assert(same_file(tok, b));
    cr_assert_neq(lpo_model_init(a, &(lpo_init_options){.size = "huge"}, &err), LPO_OK);
    cr_assert(strstr(err.msg, "huge"));
    MUST(lpo_dir_remove(dir, &err));
}

/* Weights have the standard deviation of initializer_range: 16,384 draws leave .55% of error, 2% is 3.6 of
 * it. */
Test(init, scale) {
    lpo_error err = {0};
    char *dir = temp_dir();
    MUST(lpo_model_init(dir, &(lpo_init_options){.size = "tiny", .seed = 3}, &err));
    lpo_model *m = open_small(dir, "cpu", "f32");
    const float *w = host_of(m->layout.text[0].out_w->data, 0),
                *b = host_of(m->layout.text[0].qkv_b->data, 0), *g = host_of(m->layout.norm_w->data, 0);
    cr_assert_neq(w[0], ((const float *)host_of(m->layout.text[1].out_w->data, 0))[0],
                  "every tensor draws its own");
    double sum = 0, square = 0;
    for (int i = 0; i < 128 * 128; i++) {
        sum += (double)w[i];
        square += (double)w[i] * (double)w[i];
    }
    const double want = m->config.init_range;
    cr_assert_lt(fabs(sum / 16384), 0.05 * want);
    cr_assert_lt(fabs(sqrt(square / 16384) - want), 0.02 * want);
    for (int i = 0; i < 128; i++) cr_assert(b[i] == 0 && g[i] == 1);
    lpo_model_info info;
    lpo_model_get_info(&info, m);
    cr_assert(info.n_params > 1300000 && info.n_params < 1600000, "%lld", (long long)info.n_params);
    lpo_model_destroy(m);
    MUST(lpo_dir_remove(dir, &err));
}

/* Batches that do not fit their clips, their vocabulary or the context are refused before anything is
 * recorded. */
Test(record, bad_batches) {
    lpo_error err = {0};
    char *dir = temp_dir();
    make_small(dir, TIED);
    lpo_model *m = open_small(dir, "cpu", "f32");
    static small_batch b;
    lpo_tape *t;
    lpo_forward_out out;
    MUST(lpo_tape_create(&t, lpo_model_placement(m), &err));
    static const char *const words[] = {"grid",   "vocabulary",   "video pads", "no clip",   "clip 2 of 2",
                                        "prompt", "any response", "exceed",     "multiples", "one run"};
    for (int k = 0; k < 10; k++) {
        fill_batch(&b);
        int32_t long_ids[70] = {0};
        lpo_seq_input *q = &b.seqs[1];
        if (k == 0) b.ids[1][4] = 3; /* one pad fewer */
        if (k == 1) b.ids[2][1] = 24;
        if (k == 2) b.ids[1][0] = 22; /* a pad outside the run */
        if (k == 3) q->clip = -1;
        if (k == 4) q->clip = 2;
        if (k == 5) q->n_prompt = 0;
        if (k == 6)
            for (int s = 0; s < N_SEQS; s++) b.seqs[s].n_ids = b.seqs[s].n_prompt;
        if (k == 7) b.seqs[2] = (lpo_seq_input){long_ids, 65, 5, -1};
        if (k == 8) b.clips[0].grid_w = 3;
        if (k == 9) b.ids[1][4] = 3, b.ids[1][0] = 22; /* as many pads, in two runs */
        cr_assert_neq(lpo_model_record(&out, t, m, &b.batch, NULL, &err), LPO_OK, "%d", k);
        cr_assert(strstr(err.msg, words[k]), "%d: \"%s\" lacks \"%s\"", k, err.msg, words[k]);
    }
    lpo_tape_destroy(t);
    lpo_model_destroy(m);
    MUST(lpo_dir_remove(dir, &err));
}
