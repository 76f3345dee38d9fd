/* SPDX-License-Identifier: Apache-2.0 */
/* tensor_safetensors.c -- what is written reads back; every way a file can lie is refused with its name in
 * the message. */
#include "base/file.h"
#include "tensor/safetensors.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[64];

static void setup(void) {
    snprintf(dir, sizeof dir, "/tmp/lpo-st-%d", (int)getpid());
    cr_assert_eq(lpo_dir_create(dir, NULL), LPO_OK);
}
static void teardown(void) {
    lpo_dir_remove(dir, NULL);
}
TestSuite(tensor_safetensors, .init = setup, .fini = teardown);

static const char *at(const char *name) {
    static char path[2][160];
    static int k;
    k = !k;
    snprintf(path[k], sizeof path[k], "%s/%s", dir, name);
    return path[k];
}

/* A file of this header text, `length` as its length field (-1 = the true one) and n zero bytes behind. */
static const char *make(const char *name, const char *header, int64_t length, size_t n) {
    const char *path = at(name);
    size_t size = strlen(header);
    uint64_t field = length < 0 ? size : (uint64_t)length;
    unsigned char *p = calloc(1, 8 + size + n);
    for (int i = 0; i < 8; i++) p[i] = (unsigned char)(field >> (8 * i));
    memcpy(p + 8, header, size);
    cr_assert_eq(lpo_file_write(path, p, 8 + size + n, NULL), LPO_OK);
    free(p);
    return path;
}

static void refused(const char *path, lpo_status want, const char *text) {
    lpo_safetensors *s;
    lpo_error e = {0};
    cr_expect_eq(lpo_safetensors_open(&s, path, &e), want, "%s: %s", path, e.msg);
    cr_expect_null(s);
    cr_expect(strstr(e.msg, text), "\"%s\" is not in \"%s\"", text, e.msg);
}

/* Names, dtypes, shapes, bytes and metadata survive; tensors start on 8 bytes; the same arguments give the
 * same bytes. */
Test(tensor_safetensors, round_trip) {
    float a[6] = {1, -2, 3, 4, 5, 6};
    uint16_t b[3] = {0x3f80, 0x4000, 0xbf80};
    int64_t scalar = -7;
    lpo_tensor_info t[] = {
        {.name = "z.scalar", .dtype = LPO_I64, .ndim = 0, .data = &scalar, .size_bytes = 8},
        {.name = "model.a", .dtype = LPO_F32, .ndim = 2, .shape = {2, 3}, .data = a, .size_bytes = sizeof a},
        {.name = "b\"quoted\"",
         .dtype = LPO_BF16,
         .ndim = 1,
         .shape = {3},
         .data = b,
         .size_bytes = sizeof b},
        {.name = "empty", .dtype = LPO_F32, .ndim = 2, .shape = {0, 4}, .data = NULL, .size_bytes = 0},
    };
    const char *meta[] = {"format", "pt", "note", "\xc3\xa9", NULL};
    uint64_t h1 = 0, h2 = 1;
    lpo_error e = {0};
    cr_assert_eq(lpo_safetensors_write(at("m.safetensors"), t, 4, meta, &h1, &e), LPO_OK, "%s", e.msg);
    cr_assert_eq(lpo_safetensors_write(at("n.safetensors"), t, 4, meta, &h2, &e), LPO_OK, "%s", e.msg);
    cr_expect_eq(h1, h2);
    lpo_safetensors *s;
    cr_assert_eq(lpo_safetensors_open(&s, at("m.safetensors"), &e), LPO_OK, "%s", e.msg);
    cr_expect_eq(lpo_safetensors_count(s), 4);
    for (int i = 0; i < 4; i++) {
        const lpo_tensor_info *r = lpo_safetensors_find(s, t[i].name);
        cr_assert(r, "%s", t[i].name);
        cr_expect_eq(r->dtype, t[i].dtype);
        cr_expect_eq(r->ndim, t[i].ndim);
        cr_expect_arr_eq(r->shape, t[i].shape, sizeof(int64_t) * (size_t)t[i].ndim);
        cr_assert_eq(r->size_bytes, t[i].size_bytes);
        if (r->size_bytes) cr_expect_arr_eq(r->data, t[i].data, r->size_bytes);
        if (i) cr_expect(strcmp(lpo_safetensors_at(s, i - 1)->name, lpo_safetensors_at(s, i)->name) < 0);
    }
    cr_expect_eq((uintptr_t)lpo_safetensors_find(s, "z.scalar")->data % 8, 0);
    cr_expect_str_eq(lpo_safetensors_meta(s, "format"), "pt");
    cr_expect_str_eq(lpo_safetensors_meta(s, "note"), "\xc3\xa9");
    cr_expect_null(lpo_safetensors_meta(s, "absent"));
    cr_expect_null(lpo_safetensors_find(s, "model.b"));
    cr_expect_null(lpo_safetensors_at(s, 4));
    lpo_safetensors_close(s);
    lpo_safetensors_close(NULL);
}

/* A lying or damaged file is refused; the message names the file and the tensor. */
Test(tensor_safetensors, lies) {
    const char *one = "{\"t\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}";
    refused(at("absent"), LPO_ENOTFOUND, "absent");
    refused(make("short", "", -1, 0), LPO_EFORMAT, "short");
    cr_assert_eq(lpo_file_write(at("tiny"), "abc", 3, NULL), LPO_OK);
    refused(at("tiny"), LPO_EFORMAT, "too short");
    refused(make("len", one, 1 << 30, 8), LPO_EFORMAT, "cut short");
    refused(make("len2", one, INT64_MAX, 8), LPO_EFORMAT, "cut short");
    refused(make("json", "{\"t\":", -1, 8), LPO_EFORMAT, "JSON");
    refused(make("array", "[1]", -1, 0), LPO_EFORMAT, "not a JSON object");
    refused(make("cut", one, -1, 7), LPO_EFORMAT, "\"t\": ends at byte 8 of 7");
    refused(make("tail", one, -1, 9), LPO_EFORMAT, "1 bytes behind");
    refused(make("dt", "{\"t\":{\"dtype\":\"F9\",\"shape\":[2],\"data_offsets\":[0,8]}}", -1, 8),
            LPO_EUNSUPPORTED, "F9");
    refused(make("size", "{\"t\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", -1, 8),
            LPO_EFORMAT, "need 12");
    refused(make("neg", "{\"t\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", -1, 8),
            LPO_EFORMAT, "dimension");
    refused(make("real", "{\"t\":{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}}", -1, 8),
            LPO_EFORMAT, "dimension");
    refused(make("rank", "{\"t\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}",
                 -1, 1),
            LPO_EFORMAT, "8 dimensions");
    refused(make("over",
                 "{\"t\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", -1,
                 0),
            LPO_EFORMAT, "overflows");
    refused(make("over2",
                 "{\"t\":{\"dtype\":\"F64\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", -1, 0),
            LPO_EFORMAT, "overflows");
    refused(make("falling", "{\"t\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", -1, 8),
            LPO_EFORMAT, "rising");
    refused(make("twice", "{\"t\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]},\"t\":{}}", -1, 1),
            LPO_EFORMAT, "JSON");
    refused(make("overlap",
                 "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                 "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
                 -1, 12),
            LPO_EFORMAT, "\"b\": overlaps");
    refused(make("gap",
                 "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
                 "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}}",
                 -1, 12),
            LPO_EFORMAT, "\"b\": leaves a gap");
    refused(make("meta", "{\"__metadata__\":{\"k\":1}}", -1, 0), LPO_EFORMAT, "\"k\"");
    refused(dir, LPO_ENOTFOUND, "model.safetensors");
}

/* A folder opens by its index; a shard's lie, a missing shard and a path that leaves the folder are refused.
 */
Test(tensor_safetensors, shards) {
    make("s1", "{\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", -1, 4);
    make("s2",
         "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
         "\"c\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[2,3]}}",
         -1, 3);
    const char *good = "{\"weight_map\":{\"a\":\"s2\",\"b\":\"s1\",\"c\":\"s2\"}}";
    cr_assert_eq(lpo_file_write(at("model.safetensors.index.json"), good, strlen(good), NULL), LPO_OK);
    lpo_safetensors *s;
    lpo_error e = {0};
    cr_assert_eq(lpo_safetensors_open(&s, dir, &e), LPO_OK, "%s", e.msg);
    cr_assert_eq(lpo_safetensors_count(s), 3);
    cr_expect_str_eq(lpo_safetensors_at(s, 0)->name, "a");
    cr_expect_str_eq(lpo_safetensors_at(s, 1)->file, at("s1"));
    lpo_safetensors_close(s);
    static const char *const bad[][2] = {
        {"{\"weight_map\":{\"a\":\"s1\"}}", "\"a\": is not in the shard"},
        {"{\"weight_map\":{\"a\":\"s3\"}}", "s3"},
        {"{\"weight_map\":{\"a\":\"../s1\"}}", "plain file name"},
        {"{\"weight_map\":{\"a\":1}}", "not a string"},
        {"{\"weights\":{}}", "weight_map"},
        {"7", "weight_map"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_assert_eq(lpo_file_write(at("bad.index.json"), bad[i][0], strlen(bad[i][0]), NULL), LPO_OK);
        lpo_error e2 = {0};
        cr_expect(lpo_safetensors_open(&s, at("bad.index.json"), &e2));
        cr_expect(strstr(e2.msg, bad[i][1]), "\"%s\" is not in \"%s\"", bad[i][1], e2.msg);
    }
}

/* The writer refuses what the reader would: sizes that disagree, a name given twice; and leaves no file
 * behind. */
Test(tensor_safetensors, writer_refuses) {
    float a[2] = {0};
    lpo_tensor_info t[] = {
        {.name = "a", .dtype = LPO_F32, .ndim = 1, .shape = {2}, .data = a, .size_bytes = 8},
        {.name = "a", .dtype = LPO_F32, .ndim = 1, .shape = {2}, .data = a, .size_bytes = 8}};
    lpo_error e = {0};
    cr_expect_eq(lpo_safetensors_write(at("w"), t, 2, NULL, NULL, &e), LPO_EINVAL);
    cr_expect(strstr(e.msg, "twice"), "%s", e.msg);
    t[0].shape[0] = 3;
    cr_expect_eq(lpo_safetensors_write(at("w"), t, 1, NULL, NULL, &e), LPO_EINVAL);
    t[0].shape[0] = 2;
    t[0].name = "\xff";
    cr_expect_eq(lpo_safetensors_write(at("w"), t, 1, NULL, NULL, &e), LPO_EINVAL);
    cr_expect_not(lpo_path_exists(at("w")));
    cr_expect_not(lpo_path_exists(at("w.tmp")));
}
