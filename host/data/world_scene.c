/* SPDX-License-Identifier: Apache-2.0 */
/* world_scene.c -- the scene of one video and its pixels.
 * The ground is a grey of 0 to 30 with noise of standard deviation 4 on the 56x56 grid: noise drawn per
 * output pixel would be averaged away when the model's 56x56 view is made. Noise is a sum of eight bytes,
 * near enough normal, and integer: the same on every machine. Edges are antialiased by the distance to them,
 * over one output pixel. */
#include "data/world_scene.h"

#include <math.h>

/* Sideways room for a thing and the way it travels: 7 steps between 8 frames. */
static void place(world_thing *t, lpo_rng *r) {
    double along = t->radius + 3.5 * t->speed, across = t->radius;
    double a = along + lpo_rng_uniform(r) * fmax(WORLD_SIDE - 2 * along, 0);
    double b = across + lpo_rng_uniform(r) * (WORLD_SIDE - 2 * across);
    int horizontal = t->direction == WORLD_LEFT || t->direction == WORLD_RIGHT;
    t->mid_x = horizontal ? a : b;
    t->mid_y = horizontal ? b : a;
}

/* u: 0 at the first frame of the video, 1 at the last. */
static void position(double *x, double *y, const world_thing *t, double u) {
    static const double dx[] = {-1, 1, 0, 0}, dy[] = {0, 0, -1, 1};
    double way = 7.0 * t->speed * (u - 0.5);
    *x = t->mid_x + dx[t->direction] * way;
    *y = t->mid_y + dy[t->direction] * way;
}

/* Frames, of 8, in which two things hide a good part of each other. */
static int crowded(const world_scene *s) {
    int n = 0;
    for (int f = s->thing[1].appears; f < 8; f++) {
        double x0, y0, x1, y1, u = f / 7.0;
        position(&x0, &y0, &s->thing[0], u);
        position(&x1, &y1, &s->thing[1], u);
        n += hypot(x1 - x0, y1 - y0) < 0.75 * (s->thing[0].radius + s->thing[1].radius);
    }
    return n;
}

void world_scene_make(world_scene *s, uint64_t seed, int index) {
    lpo_rng r = lpo_rng_init(seed, (uint64_t)index);
    s->n_things = 1 + (int)lpo_rng_below(&r, 2);
    s->grey = (int)lpo_rng_below(&r, 31);
    s->by_speed = (int)lpo_rng_below(&r, 2);
    for (int i = 0; i < 2; i++) {
        world_thing *t = &s->thing[i];
        t->colour = (int)lpo_rng_below(&r, WORLD_COLOURS);
        t->shape = (int)lpo_rng_below(&r, WORLD_SHAPES);
        t->direction = (int)lpo_rng_below(&r, WORLD_DIRECTIONS);
        t->radius = 8 + 1.5 * lpo_rng_uniform(&r);
        t->speed = 4;
        t->appears = 0;
    }
    /* a different colour and shape for the second, uniform over those left */
    s->thing[1].colour = (s->thing[0].colour + 1 + (int)lpo_rng_below(&r, WORLD_COLOURS - 1)) % WORLD_COLOURS;
    s->thing[1].shape = (s->thing[0].shape + 1 + (int)lpo_rng_below(&r, WORLD_SHAPES - 1)) % WORLD_SHAPES;
    if (s->n_things == 2 && s->by_speed) {
        s->thing[0].speed = 5;
        s->thing[1].speed = 1.5;
    } else if (s->n_things == 2) {
        s->thing[1].appears = 3 + (int)lpo_rng_below(&r, 2);
    }
    int fewest = 9;
    for (int attempt = 0; attempt < 32 && fewest > 1; attempt++) {
        world_scene t = *s;
        place(&t.thing[0], &r);
        place(&t.thing[1], &r);
        int n = t.n_things == 2 ? crowded(&t) : 0;
        if (n < fewest) *s = t, fewest = n;
    }
}

static double distance(const world_thing *t, double dx, double dy) {
    double w = t->shape == WORLD_BAR ? t->radius : 0.4 * t->radius,
           h = t->shape == WORLD_BAR ? 0.4 * t->radius : t->radius;
    if (t->shape == WORLD_CIRCLE) return sqrt(dx * dx + dy * dy) - t->radius;
    return fmax(fabs(dx) - w, fabs(dy) - h);
}

static void draw_thing(uint8_t *rgb, const world_thing *t, double u, int size_px) {
    static const int paint[WORLD_COLOURS][3] = {{220, 40, 40}, {40, 200, 60}, {50, 80, 230}, {230, 210, 40}};
    double scale = (double)size_px / WORLD_SIDE, cx, cy, reach = (t->radius + 1) * scale;
    position(&cx, &cy, t, u);
    int x0 = (int)fmax(0, cx * scale - reach), x1 = (int)fmin(size_px, cx * scale + reach + 1);
    int y0 = (int)fmax(0, cy * scale - reach), y1 = (int)fmin(size_px, cy * scale + reach + 1);
    for (int y = y0; y < y1; y++)
        for (int x = x0; x < x1; x++) {
            double d = distance(t, (x + 0.5) / scale - cx, (y + 0.5) / scale - cy) * scale;
            double cover = fmin(fmax(0.5 - d, 0), 1);
            uint8_t *p = rgb + ((size_t)y * (size_t)size_px + (size_t)x) * 3;
            for (int k = 0; k < 3 && cover > 0; k++)
                p[k] = (uint8_t)(p[k] + cover * (paint[t->colour][k] - p[k]) + 0.5);
        }
}

/* Mean 0, standard deviation 4: the sum of eight uniform bytes has mean 1020 and standard deviation 209. */
static int noise_draw(lpo_rng *r) {
    uint64_t bits = lpo_rng_u64(r);
    int sum = 0;
    for (int i = 0; i < 8; i++, bits >>= 8) sum += (int)(bits & 255);
    return ((sum - 1020) * 4 + 104 + 209 * 64) / 209 - 64;
}

void world_scene_draw(uint8_t *rgb, const world_scene *s, int frame, int n_frames, int size_px,
                      lpo_rng *noise) {
    double u = (double)frame / (n_frames - 1);
    size_t n = (size_t)size_px * (size_t)size_px * 3;
    for (size_t i = 0; i < n; i++) rgb[i] = (uint8_t)s->grey;
    for (int i = 0; i < s->n_things; i++)
        if (frame * 8 >= s->thing[i].appears * n_frames) draw_thing(rgb, &s->thing[i], u, size_px);
    int8_t cell[WORLD_SIDE * WORLD_SIDE];
    for (int i = 0; i < WORLD_SIDE * WORLD_SIDE; i++) cell[i] = (int8_t)noise_draw(noise);
    for (int y = 0; y < size_px; y++)
        for (int x = 0; x < size_px; x++, rgb += 3) {
            int d = cell[y * WORLD_SIDE / size_px * WORLD_SIDE + x * WORLD_SIDE / size_px];
            for (int k = 0; k < 3; k++) {
                int v = rgb[k] + d;
                rgb[k] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
            }
        }
}
