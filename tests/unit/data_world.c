/* SPDX-License-Identifier: Apache-2.0 */
/* data_world.c -- the moving-shapes world is what world.h says: pictures show what the texts claim, texts
 * parse, each word is one token, and the same seed gives the same bytes at any number of threads. */
#include "base/file.h"
#include "base/json.h"
#include "data/world_scene.h"
#include "leanpo/media.h"
#include "leanpo/text.h"
#include "leanpo/world.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VIDEOS = 40, SEED = 11, SIDE = 112 };
static char dir[64];

static lpo_world_options options(void) {
    lpo_world_options o = lpo_world_options_default();
    o.n_videos = VIDEOS, o.seed = SEED, o.size_px = SIDE, o.heldout = 0.25;
    return o;
}

static const char *at(const char *sub, const char *name) {
    static char path[4][160];
    static int k;
    char *p = path[k++ & 3];
    snprintf(p, 160, "%s/%s%s", dir, sub, name);
    return p;
}

static void make(const char *sub, const lpo_world_options *o) {
    lpo_error err = {0};
    cr_assert_eq(lpo_world_write(at(sub, ""), o, &err), LPO_OK, "%s", err.msg);
}

static void set_up(void) {
    strcpy(dir, "/tmp/lpo-world-XXXXXX");
    cr_assert(mkdtemp(dir) != NULL);
}
static void tear_down(void) {
    lpo_dir_remove(dir, NULL);
}
TestSuite(world, .init = set_up, .fini = tear_down);

static int same_file(const char *a, const char *b) {
    char *x = NULL, *y = NULL;
    size_t n, m;
    cr_assert_eq(lpo_file_read(&x, &n, a, 1 << 26, NULL), LPO_OK, "%s", a);
    cr_assert_eq(lpo_file_read(&y, &m, b, 1 << 26, NULL), LPO_OK, "%s", b);
    int same = n == m && memcmp(x, y, n) == 0;
    free(x), free(y);
    return same;
}

static const char *const files[] = {"captions.jsonl", "qa.train.jsonl",        "qa.heldout.jsonl",
                                    "tokenizer.json", "tokenizer_config.json", "world.json"};

/* Truth: one thread or four, all files are the same; another seed gives another world. */
Test(world, same_seed_same_bytes) {
    lpo_world_options o = options();
    o.n_threads = 1, make("a/", &o);
    o.n_threads = 4, make("b/", &o);
    o.seed++, make("c/", &o);
    for (size_t k = 0; k < sizeof files / sizeof *files; k++)
        cr_expect(same_file(at("a/", files[k]), at("b/", files[k])));
    cr_expect_not(same_file(at("a/", files[1]), at("c/", files[1])));
    for (int i = 0; i < VIDEOS; i++) {
        char name[32];
        snprintf(name, sizeof name, "videos/%06d.mp4", i);
        cr_expect(same_file(at("a/", name), at("b/", name)), "%s", name);
        cr_expect_not(same_file(at("a/", name), at("c/", name)), "%s", name);
    }
}

/* ---- pictures ---- */

typedef struct look {
    int frames;
    const world_scene *scene;
} look;

static int channel(int v) {
    return v < 0 ? 0 : v > 255 ? 255 : v;
}

/* RGB at a pixel of a 4:2:0 BT.601 limited frame. */
static void pixel(int rgb[3], const lpo_frame *f, int x, int y) {
    double Y = 1.164 * (f->plane[0][y * f->pitch_bytes[0] + x] - 16);
    double u = f->plane[1][y / 2 * f->pitch_bytes[1] + x / 2] - 128,
           v = f->plane[2][y / 2 * f->pitch_bytes[2] + x / 2] - 128;
    rgb[0] = channel((int)(Y + 1.596 * v)), rgb[1] = channel((int)(Y - .392 * u - .813 * v)),
    rgb[2] = channel((int)(Y + 2.017 * u));
}

static int colour_of(const int rgb[3]) {
    int r = rgb[0] > 130, g = rgb[1] > 130, b = rgb[2] > 130;
    if (r && g && !b) return 3;
    if (r && !g && !b) return 0;
    if (g && !r && !b) return 1;
    if (b && !r && !g) return 2;
    return -1;
}

/* Each thing is where it was put and moves the way the texts say, by `speed` a frame, where it is not hidden.
 */
static lpo_status check_frame(void *user, int i, const lpo_frame *f, lpo_error *err) {
    look *l = user;
    (void)err;
    cr_expect_eq(f->matrix, LPO_MATRIX_BT601);
    cr_expect_eq(f->full_range, 0);
    static const int dx[] = {-1, 1, 0, 0}, dy[] = {0, 0, -1, 1};
    for (int k = l->scene->n_things - 1; k >= 0; k--) {
        const world_thing *t = &l->scene->thing[k];
        double cx = t->mid_x + dx[t->direction] * t->speed * (i - 3.5),
               cy = t->mid_y + dy[t->direction] * t->speed * (i - 3.5);
        int x = (int)(cx * SIDE / 56), y = (int)(cy * SIDE / 56), rgb[3];
        cr_expect(cx - t->radius >= -0.01 && cx + t->radius <= 56.01 && cy - t->radius >= -0.01 &&
                      cy + t->radius <= 56.01,
                  "thing %d leaves the picture in frame %d", k, i);
        pixel(rgb, f, x, y);
        const world_thing *over = k == 0 && l->scene->n_things == 2 ? &l->scene->thing[1] : NULL;
        if (over) {
            double ox = over->mid_x + dx[over->direction] * over->speed * (i - 3.5);
            double oy = over->mid_y + dy[over->direction] * over->speed * (i - 3.5);
            if (hypot(ox - cx, oy - cy) < 14) continue;
        }
        int want = i >= t->appears ? t->colour : -1;
        if (want < 0 &&
            hypot(l->scene->thing[0].mid_x + dx[l->scene->thing[0].direction] * 4 * (i - 3.5) - cx,
                  l->scene->thing[0].mid_y + dy[l->scene->thing[0].direction] * 4 * (i - 3.5) - cy) < 14)
            continue;
        cr_expect_eq(colour_of(rgb), want, "frame %d thing %d: rgb %d %d %d at %d,%d", i, k, rgb[0], rgb[1],
                     rgb[2], x, y);
    }
    l->frames++;
    return LPO_OK;
}

/* Truth: videos have 8 frames at 8 fps; every thing is inside the picture, in its colour, at its place, from
 * its frame. */
Test(world, pictures_show_the_scene) {
    lpo_world_options o = options();
    make("", &o);
    int speed = 0, first = 0;
    for (int i = 0; i < VIDEOS; i++) {
        char name[32];
        world_scene scene;
        lpo_video *v;
        lpo_error err = {0};
        snprintf(name, sizeof name, "videos/%06d.mp4", i);
        world_scene_make(&scene, SEED, i);
        cr_assert_eq(lpo_video_open(&v, at("", name), NULL, 1, &err), LPO_OK, "%s", err.msg);
        const lpo_video_info *info = lpo_video_get_info(v);
        cr_expect_eq(info->n_frames, 8);
        cr_expect_float_eq(info->fps, 8, 1e-9);
        cr_expect_eq(info->width, SIDE);
        look l = {0, &scene};
        int64_t all[8] = {0, 1, 2, 3, 4, 5, 6, 7};
        cr_assert_eq(lpo_video_read(v, all, 8, check_frame, &l, &err), LPO_OK, "%s", err.msg);
        cr_expect_eq(l.frames, 8);
        lpo_video_close(v);
        if (scene.n_things == 2) {
            cr_expect_neq(scene.thing[0].colour, scene.thing[1].colour);
            cr_expect_neq(scene.thing[0].shape, scene.thing[1].shape);
            cr_expect_eq(scene.thing[0].speed > scene.thing[1].speed, scene.by_speed);
            cr_expect_eq(scene.thing[1].appears > 0, !scene.by_speed);
            speed += scene.by_speed, first += !scene.by_speed;
        }
    }
    cr_expect(speed > 3 && first > 3, "%d, %d", speed, first);
}

/* ---- texts ---- */

/* Content words of a text, sorted, joined. */
static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}
static void content(char *out, const char *text) {
    char copy[WORLD_TEXT], *word[40], *save = NULL;
    int n = 0;
    snprintf(copy, sizeof copy, "%s", text);
    for (char *w = strtok_r(copy, " ?,", &save); w; w = strtok_r(NULL, " ?,", &save))
        if (lpo_world_is_content_word(w)) word[n++] = w;
    qsort(word, (size_t)n, sizeof *word, by_name);
    out[0] = 0;
    for (int i = 0; i < n; i++) strcat(strcat(out, word[i]), " ");
}

/* Truth: every phrasing of an answer has the same content words, at least one of them, and at most 15 words;
 * and the scene's own words are in it. Drawn often enough that all phrasings of all types come up. */
Test(world, phrasings_share_content_words) {
    double words = 0;
    int answers = 0;
    for (int i = 0; i < 60; i++) {
        world_scene scene;
        world_scene_make(&scene, SEED, i);
        for (int type = 0; type < WORLD_TYPES; type++) {
            char q[WORLD_TEXT], a[WORLD_TEXT], first[2][WORLD_TEXT] = {"", ""}, now[WORLD_TEXT];
            lpo_rng r = lpo_rng_init(1, (uint64_t)(i * 16 + type));
            for (int draw = 0; draw < 60; draw++) {
                if (!world_qa(q, a, &scene, (world_type)type, &r)) break;
                content(now, a);
                cr_assert(now[0], "no content word in \"%s\"", a);
                int n = 1;
                for (const char *c = a; *c; c++) n += *c == ' ';
                cr_expect_leq(n, 15, "\"%s\"", a);
                words += n, answers++;
                /* with two things either may be asked about: at most two different answers */
                if (!first[0][0] || !strcmp(first[0], now))
                    strcpy(first[0], now);
                else if (!first[1][0] || !strcmp(first[1], now))
                    strcpy(first[1], now);
                else
                    cr_assert(0, "a third answer \"%s\" beside \"%s\" and \"%s\"", now, first[0], first[1]);
                int asks_of_one = scene.n_things == 2 && type <= WORLD_DIRECTION;
                cr_assert(asks_of_one || !first[1][0], "\"%s\" and \"%s\"", first[0], first[1]);
            }
        }
    }
    double mean = words / answers;
    cr_expect(mean > 6 && mean < 9, "%g words on average", mean);
}

static int count_lines(const char *name, const char *type_wanted, lpo_tokenizer *t, int *objects) {
    char *data, *save = NULL;
    size_t size;
    int n = 0;
    cr_assert_eq(lpo_file_read(&data, &size, at("", name), 1 << 26, NULL), LPO_OK);
    for (char *line = strtok_r(data, "\n", &save); line; line = strtok_r(NULL, "\n", &save), n++) {
        json_t *o;
        lpo_error err = {0};
        const char *field[5], *const keys[] = {"id", "video", "question", "answer", "type"};
        cr_assert_eq(lpo_json_parse(&o, line, strlen(line), name, &err), LPO_OK, "%s", err.msg);
        for (int k = 0; k < 5; k++)
            cr_assert_eq(lpo_json_str(&field[k], o, keys[k], name, &err), LPO_OK, "%s", err.msg);
        cr_expect(lpo_path_exists(at("", field[1])));
        if (type_wanted) cr_expect_str_eq(field[4], type_wanted);
        for (int k = 2; k < 4; k++) { /* each word, comma and question mark is one token */
            int words = 1;
            for (const char *c = field[k]; *c; c++) words += *c == ' ' || *c == '?';
            lpo_ids ids = {0};
            cr_assert_eq(lpo_tokenizer_encode(&ids, t, field[k], strlen(field[k]), &err), LPO_OK, "%s",
                         err.msg);
            cr_expect_eq((int)ids.n, words, "\"%s\" is %d tokens", field[k], (int)ids.n);
            lpo_ids_clear(&ids);
        }
        *objects += (int)json_integer_value(json_object_get(o, "n_objects"));
        json_decref(o);
    }
    free(data);
    return n;
}

/* Truth: lines parse, name videos that exist, tokenize a word a token; counts agree with world.json; the
 * vocabulary is within 512 and the chat frame is whole words. */
Test(world, texts_and_tokenizer) {
    lpo_world_options o = options();
    make("", &o);
    lpo_error err = {0};
    lpo_tokenizer *t;
    json_t *meta;
    int64_t n;
    int objects = 0;
    cr_assert_eq(lpo_tokenizer_load(&t, at("", "tokenizer.json"), &err), LPO_OK, "%s", err.msg);
    cr_expect_leq(lpo_tokenizer_size(t), 512);
    cr_expect(lpo_tokenizer_id(t, "<|im_end|>") >= 256);
    cr_assert_eq(lpo_json_load(&meta, at("", "world.json"), 1 << 20, &err), LPO_OK);
    cr_expect_eq(count_lines("captions.jsonl", "caption", t, &objects), 30);
    cr_expect(objects > 30 && objects < 60);
    const char *const split[][2] = {{"qa.train.jsonl", "n_qa_train"}, {"qa.heldout.jsonl", "n_qa_heldout"}};
    for (int k = 0; k < 2; k++) {
        cr_assert_eq(lpo_json_int(&n, meta, split[k][1], 0, 1 << 20, "world.json", &err), LPO_OK);
        cr_expect_eq(count_lines(split[k][0], NULL, t, &objects), (int)n);
    }
    static const char frame[] =
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
        "<|vision_start|><|video_pad|><|vision_end|>what color is the shape?<|im_end|>\n"
        "<|im_start|>assistant\n";
    lpo_ids ids = {0};
    cr_assert_eq(lpo_tokenizer_encode(&ids, t, frame, strlen(frame), &err), LPO_OK, "%s", err.msg);
    cr_expect_eq((int)ids.n, 28, "%d tokens", (int)ids.n);
    lpo_ids_clear(&ids);
    json_decref(meta);
    lpo_tokenizer_destroy(t);
}

static int stop_at_five(void *user, const char *what, long long done, long long total) {
    (void)user, (void)what, (void)total;
    return done >= 5;
}

/* Truth: options out of range are told; a stop ends the work with LPO_ECANCELED and no world.json. */
Test(world, refusals_and_cancel) {
    lpo_world_options o = options();
    lpo_error err = {0};
    o.size_px = 57;
    cr_expect_eq(lpo_world_write(at("x", ""), &o, &err), LPO_EINVAL);
    o = options(), o.n_frames = 4;
    cr_expect_eq(lpo_world_write(at("x", ""), &o, &err), LPO_EINVAL);
    o = options(), o.heldout = 1;
    cr_expect_eq(lpo_world_write(at("x", ""), &o, &err), LPO_EINVAL);
    o = options(), o.progress = stop_at_five;
    cr_expect_eq(lpo_world_write(at("x", ""), &o, &err), LPO_ECANCELED);
    cr_expect(strstr(err.msg, "of 40"), "%s", err.msg);
    cr_expect_not(lpo_path_exists(at("x/", "world.json")));
    cr_expect(lpo_world_is_content_word("yellow") && lpo_world_is_content_word("faster") &&
              lpo_world_is_content_word("one"));
    cr_expect_not(lpo_world_is_content_word("the") || lpo_world_is_content_word("shape") ||
                  lpo_world_is_content_word(""));
}
