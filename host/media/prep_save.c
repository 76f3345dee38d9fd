/* SPDX-License-Identifier: Apache-2.0 */
/* prep_save.c -- a clip as one .safetensors file: 8-byte little-endian header size | JSON header, padded with
 * spaces to 8 | patches f32 | frames_u8 u8. The wider type comes first, so both are aligned; patches are made
 * and written one temporal step at a time, never all at once. */
#include "base/file.h"
#include "leanpo/prep.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *entry(const char *dtype, json_t *shape, int64_t begin, int64_t end) {
    return json_pack("{s:s, s:o, s:[I,I]}", "dtype", dtype, "shape", shape, "data_offsets", (json_int_t)begin,
                     (json_int_t)end);
}

/* Metadata values are strings: the format allows no other. */
static json_t *metadata(const lpo_clip *c, const lpo_prep_options *o) {
    char grid[64], seconds[32], geometry[64], normal[160];
    snprintf(grid, sizeof grid, "%d,%d,%d", c->grid_t, c->grid_h, c->grid_w);
    snprintf(seconds, sizeof seconds, "%.17g", c->second_per_grid);
    snprintf(geometry, sizeof geometry, "%d,%d,%d", o->patch_size, o->temporal_patch, o->merge_size);
    snprintf(normal, sizeof normal, "%.9g,%.9g,%.9g/%.9g,%.9g,%.9g", (double)o->mean[0], (double)o->mean[1],
             (double)o->mean[2], (double)o->std[0], (double)o->std[1], (double)o->std[2]);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "family", o->family, "resize",
                     o->resize_pillow ? "pillow" : "torchvision", "color",
                     o->color_force601 ? "force601" : "auto-tag", "grid_thw", grid, "second_per_grid",
                     seconds, "patch_temporal_merge", geometry, "mean_std", normal);
}

static lpo_status put_header(lpo_writer *w, const lpo_clip *c, const lpo_prep_options *o, int64_t rows,
                             int64_t cols, const char *path, lpo_error *err) {
    int64_t patch_bytes = rows * cols * 4, frame_bytes = (int64_t)c->n_frames * c->height * c->width * 3;
    json_t *obj = json_pack(
        "{s:o, s:o, s:o}", "__metadata__", metadata(c, o), "patches",
        entry("F32", json_pack("[I,I]", (json_int_t)rows, (json_int_t)cols), 0, patch_bytes), "frames_u8",
        entry("U8", json_pack("[i,i,i,i]", c->n_frames, c->height, c->width, 3), patch_bytes,
              patch_bytes + frame_bytes));
    char *text = obj ? json_dumps(obj, JSON_COMPACT) : NULL;
    json_decref(obj);
    if (!text) return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", path);
    size_t used = strlen(text), padded = (used + 7) & ~(size_t)7;
    uint8_t size_le[8];
    for (int k = 0; k < 8; k++) size_le[k] = (uint8_t)((uint64_t)padded >> (8 * k));
    lpo_status s = lpo_writer_put(w, size_le, sizeof size_le, err);
    if (!s) s = lpo_writer_put(w, text, used, err);
    if (!s) s = lpo_writer_put(w, "        ", padded - used, err);
    free(text);
    return s;
}

/* Floats as little-endian bytes, whatever the machine. */
static lpo_status put_floats(lpo_writer *w, float *x, size_t n, lpo_error *err) {
    const uint16_t probe = 1;
    if (!*(const uint8_t *)&probe)
        for (size_t k = 0; k < n; k++) {
            uint32_t bits;
            memcpy(&bits, &x[k], 4);
            bits = __builtin_bswap32(bits);
            memcpy(&x[k], &bits, 4);
        }
    return lpo_writer_put(w, x, n * sizeof *x, err);
}

lpo_status lpo_prep_save(const char *path, const lpo_clip *c, const lpo_prep_options *o, lpo_error *err) {
    int64_t cols = (int64_t)3 * o->temporal_patch * o->patch_size * o->patch_size;
    int64_t step_rows = (int64_t)c->grid_h * c->grid_w, rows = c->grid_t * step_rows;
    size_t frame_bytes = (size_t)c->height * (size_t)c->width * 3;
    lpo_writer *w = NULL;
    float *patches = malloc((size_t)(step_rows * cols) * sizeof *patches);
    if (!patches) return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", path);
    lpo_status s = lpo_writer_open(&w, path, err);
    if (!s) s = put_header(w, c, o, rows, cols, path, err);
    for (int t = 0; !s && t < c->grid_t; t++) {
        lpo_clip step = *c;
        int first = t * o->temporal_patch;
        step.frames_u8 = c->frames_u8 + (size_t)first * frame_bytes;
        step.n_frames = c->n_frames - first < o->temporal_patch ? c->n_frames - first : o->temporal_patch;
        step.grid_t = 1;
        lpo_prep_patchify(patches, &step, o);
        s = put_floats(w, patches, (size_t)(step_rows * cols), err);
    }
    if (!s) s = lpo_writer_put(w, c->frames_u8, (size_t)c->n_frames * frame_bytes, err);
    if (s)
        lpo_writer_abort(w);
    else
        s = lpo_writer_commit(w, err);
    free(patches);
    return s;
}
