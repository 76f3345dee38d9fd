/* SPDX-License-Identifier: Apache-2.0 */
/* world_scene.h -- one video of the moving-shapes world: what is in it, how it looks, what is said about it.
 * A scene is a pure function of (seed, index): pictures and texts are made apart, and agree. */
#ifndef LPO_DATA_WORLD_SCENE_H
#define LPO_DATA_WORLD_SCENE_H
#include "base/file.h"
#include "base/rng.h"

#include <stddef.h>

enum { WORLD_SIDE = 56 }; /* scene coordinates, whatever the size in pixels */
enum { WORLD_COLOURS = 4, WORLD_SHAPES = 3, WORLD_DIRECTIONS = 4 };
enum { WORLD_CIRCLE, WORLD_BAR, WORLD_POLE };
enum { WORLD_LEFT, WORLD_RIGHT, WORLD_UP, WORLD_DOWN };

typedef enum world_type {
    WORLD_COLOUR,
    WORLD_SHAPE,
    WORLD_DIRECTION,
    WORLD_COUNT,
    WORLD_FASTER,
    WORLD_FIRST,
    WORLD_DESCRIBE,
    WORLD_TYPES
} world_type;

typedef struct world_thing {
    int colour, shape, direction;
    double radius, speed; /* speed in scene units a frame of 8 */
    double mid_x, mid_y;  /* where it is half-way through the video */
    int appears;          /* frame, in a video of 8 */
} world_thing;

typedef struct world_scene {
    int n_things, grey;
    int by_speed;         /* two things: thing 0 is faster; else thing 0 appears first */
    world_thing thing[2]; /* of different colour and shape */
} world_scene;

void world_scene_make(world_scene *s, uint64_t seed, int index);

/* Frame number `frame` of n_frames -> rgb (size_px, size_px, 3), overwritten. noise: a stream of this video,
 * advanced. */
void world_scene_draw(uint8_t *rgb, const world_scene *s, int frame, int n_frames, int size_px,
                      lpo_rng *noise);

/* ---- world_text.c ---- */

enum { WORLD_TEXT = 160 };

/* 0 when the type does not apply to the scene. Which of the three phrasings is drawn from r. */
int world_qa(char question[WORLD_TEXT], char answer[WORLD_TEXT], const world_scene *s, world_type type,
             lpo_rng *r);
void world_caption(char answer[WORLD_TEXT], const world_scene *s);
const char *world_type_name(world_type type);
/* How many different right answers the type has over all scenes. */
int world_type_answers(world_type type);
extern const char *const world_caption_question;
extern const char
    *const world_words[]; /* every word of questions, answers and the chat frame; NULL at the end */

/* ---- world_tokenizer.c ---- */

lpo_status world_tokenizer_write(const char *dir, int *vocabulary, lpo_error *err);
#endif
