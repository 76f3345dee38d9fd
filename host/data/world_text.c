/* SPDX-License-Identifier: Apache-2.0 */
/* world_text.c -- questions and answers about a scene.
 * A phrasing is a pattern: %1 and %2 are the things as "red bar", %c %s %d colour, shape and direction word
 * of the thing asked about, %w its way ("to the left", "up"), %n "one" or "two", and %t what the question
 * calls it: "shape" when there is no other. Which thing is asked about is drawn; with two, the question names
 * it by what it does not ask. */
#include "data/world_scene.h"
#include "leanpo/world.h"

#include <stdio.h>
#include <string.h>

static const char *const colours[] = {"red", "green", "blue", "yellow"};
static const char *const shapes[] = {"circle", "bar", "pole"};
static const char *const directions[] = {"left", "right", "up", "down"};
static const char *const ways[] = {"to the left", "to the right", "up", "down"};
static const char *const others[] = {"one", "two", "faster", "first"};

const char *const world_caption_question = "describe briefly";

const char *const world_words[] = {
    "red",       "green",  "blue",   "yellow",    "circle", "bar",     "pole",    "left",     "right",
    "up",        "down",   "one",    "two",       "first",  "faster",  "the",     "there",    "a",
    "is",        "it",     "in",     "of",        "and",    "to",      "are",     "video",    "move",
    "moves",     "shape",  "shapes", "what",      "how",    "many",    "which",   "color",    "way",
    "does",      "has",    "have",   "where",     "go",     "comes",   "happens", "describe", "briefly",
    "direction", "system", "user",   "assistant", "You",    "helpful", "hint",    "draft",    NULL};

typedef struct phrasing {
    const char *one[3], *two[3]; /* for scenes of one and of two things; NULL: does not apply */
} phrasing;

static const phrasing questions[WORLD_TYPES] = {
    [WORLD_COLOUR] = {{"what color is the shape?", "which color does the shape have?",
                       "what is the color of the shape?"},
                      {"what color is the %s?", "which color does the %s have?",
                       "what is the color of the %s?"}},
    [WORLD_SHAPE] = {{"what shape is in the video?", "which shape is it?", "what is the shape in the video?"},
                     {"what shape is %c?", "which shape is %c?", "what is the %c shape?"}},
    [WORLD_DIRECTION] = {{"where does the shape go?", "which way does the shape move?",
                          "what is the direction of the shape?"},
                         {"where does the %1 go?", "which way does the %1 move?",
                          "what is the direction of the %1?"}},
    [WORLD_COUNT] = {{"how many shapes are there?", "how many shapes are in the video?",
                      "how many shapes does the video have?"},
                     {"how many shapes are there?", "how many shapes are in the video?",
                      "how many shapes does the video have?"}},
    [WORLD_FASTER] = {{NULL},
                      {"which shape is faster?", "which shape moves faster?", "what is the faster shape?"}},
    [WORLD_FIRST] = {{NULL},
                     {"which shape is first?", "which shape comes first?", "what is the first shape?"}},
    [WORLD_DESCRIBE] = {{"what happens in the video?", "describe the video", "what is in the video?"},
                        {"what happens in the video?", "describe the video", "what is in the video?"}}};

static const phrasing answers[WORLD_TYPES] = {
    [WORLD_COLOUR] = {{"the color of the shape is %c", "it is a %c shape in the video",
                       "the shape in the video is %c"},
                      {"the color of the %s is %c", "it is a %c %s", "the %s in the video is %c"}},
    [WORLD_SHAPE] = {{"the shape in the video is a %s", "it is a %s", "there is a %s in the video"},
                     {"the %c shape is a %s", "it is a %c %s", "there is a %c %s in the video"}},
    [WORLD_DIRECTION] = {{"the shape in the video moves %w", "the direction of the shape is %d",
                          "it moves %w in the video"},
                         {"the %1 moves %w", "the direction of the %1 is %d",
                          "in the video the %1 moves %w"}},
    [WORLD_COUNT] = {{"there is one shape in the video", "the video has one shape",
                      "one shape is in the video"},
                     {"there are two shapes in the video", "the video has two shapes",
                      "two shapes are in the video"}},
    [WORLD_FASTER] = {{NULL}, {"the %1 is faster", "the %1 moves faster", "the faster shape is the %1"}},
    [WORLD_FIRST] = {{NULL}, {"the %1 is first", "the %1 comes first", "the first shape is the %1"}},
    [WORLD_DESCRIBE] = {
        {"a %1 moves %w", "there is a %1 and it moves %w", "the video has a %1 and it moves %w"},
        {"a %1 moves %w and a %2 moves %W", "the %1 moves %w and the %2 moves %W",
         "in the video a %1 moves %d and a %2 moves %D"}}};

const char *world_type_name(world_type type) {
    static const char *const names[] = {"color",  "shape", "direction", "count",
                                        "faster", "first", "describe"};
    return names[type];
}

int world_type_answers(world_type type) {
    const int things = WORLD_COLOURS * WORLD_SHAPES, one = things * WORLD_DIRECTIONS;
    const int second = (WORLD_COLOURS - 1) * (WORLD_SHAPES - 1) * WORLD_DIRECTIONS;
    const int n[] = {WORLD_COLOURS, WORLD_SHAPES, WORLD_DIRECTIONS, 2, things, things, one + one * second};
    return n[type];
}

static void append(char *out, const char *s) {
    size_t n = strlen(out);
    snprintf(out + n, WORLD_TEXT - n, "%s", s);
}

static void name_thing(char *out, const world_thing *t) {
    append(out, colours[t->colour]);
    append(out, " ");
    append(out, shapes[t->shape]);
}

/* first: the thing asked about, second: the other. */
static void expand(char *out, const char *pattern, const world_thing *first, const world_thing *second) {
    out[0] = 0;
    for (const char *p = pattern; *p; p++) {
        char plain[2] = {*p, 0};
        if (*p != '%') {
            append(out, plain);
            continue;
        }
        switch (*++p) {
        case '1': name_thing(out, first); break;
        case '2': name_thing(out, second); break;
        case 'c': append(out, colours[first->colour]); break;
        case 's': append(out, shapes[first->shape]); break;
        case 'd': append(out, directions[first->direction]); break;
        case 'w': append(out, ways[first->direction]); break;
        case 'D': append(out, directions[second->direction]); break;
        default: append(out, ways[second->direction]); break; /* W */
        }
    }
}

int world_qa(char question[WORLD_TEXT], char answer[WORLD_TEXT], const world_scene *s, world_type type,
             lpo_rng *r) {
    /* drawn whether or not they are used: each type takes the same part of the stream */
    int q = (int)lpo_rng_below(r, 3), a = (int)lpo_rng_below(r, 3), which = (int)lpo_rng_below(r, 2);
    int two = s->n_things == 2;
    if (type == WORLD_FASTER && !(two && s->by_speed)) return 0;
    if (type == WORLD_FIRST && !(two && !s->by_speed)) return 0;
    if (!two || type == WORLD_FASTER || type == WORLD_FIRST || type == WORLD_DESCRIBE) which = 0;
    const world_thing *first = &s->thing[which], *second = &s->thing[1 - which];
    expand(question, two ? questions[type].two[q] : questions[type].one[q], first, second);
    expand(answer, two ? answers[type].two[a] : answers[type].one[a], first, second);
    return 1;
}

void world_caption(char answer[WORLD_TEXT], const world_scene *s) {
    expand(answer, s->n_things == 2 ? "%1 %d , %2 %D" : "%1 %d", &s->thing[0], &s->thing[1]);
}

static int among(const char *const *list, size_t n, const char *word) {
    for (size_t i = 0; i < n; i++)
        if (!strcmp(list[i], word)) return 1;
    return 0;
}

int lpo_world_is_content_word(const char *word) {
    return among(colours, sizeof colours / sizeof *colours, word) ||
           among(shapes, sizeof shapes / sizeof *shapes, word) ||
           among(directions, sizeof directions / sizeof *directions, word) ||
           among(others, sizeof others / sizeof *others, word);
}
