/* SPDX-License-Identifier: Apache-2.0 */
/* view_json.c -- a profile as JSON. Seconds, bytes and flops, per step where a name says so; an object's
 * "tag" says where its figures come from. */
#include "profile/view.h"

#include <string.h>

static const char *tag_of(const lpo_stage_time *t) {
    return t->modelled ? "modelled" : t->emulated ? "emulated" : "measured";
}

static json_t *stage(const lpo_stage_time *t, const lpo_summary *s, const lpo_roofline *r) {
    const double steps = s->n_steps ? s->n_steps : 1;
    double share;
    const lpo_bound b = lpo_bound_of(&share, t, s, r);
    json_t *o = json_pack("{ss ss ss sf sf sf sf sf sf}", "tag", tag_of(t), "stage", t->stage, "device",
                          t->device, "spans_per_step", (double)t->n / steps, "busy_s_per_step",
                          t->busy_s / steps, "thread_s_per_step", t->thread_s / steps, "share",
                          s->window_s > 0 ? t->busy_s / s->window_s : 0, "bytes_per_step", t->bytes / steps,
                          "flops_per_step", t->flops / steps);
    if (b) json_object_set_new(o, "bound", json_string(lpo_bound_name(b)));
    if (share > 0) json_object_set_new(o, "roofline_share", json_real(share));
    return o;
}

static json_t *stages(const lpo_stage_time *t, int n, const lpo_summary *s, const lpo_roofline *r) {
    json_t *list = json_array();
    for (int i = 0; i < n; i++) json_array_append_new(list, stage(&t[i], s, r));
    return list;
}

static json_t *levels(const lpo_summary *s) {
    json_t *list = json_array();
    for (int i = 0; i < s->n_levels; i++)
        json_array_append_new(list, json_pack("{ss ss sf sf sf}", "tag", "measured", "name", s->level[i].name,
                                              "mean", s->level[i].mean, "min", s->level[i].min, "max",
                                              s->level[i].max));
    return list;
}

static json_t *preprocess(const lpo_summary *s, const lpo_advice *a) {
    return json_pack("{s{ss sf sf sf sf sb} s{ss sf sf sf sf sf sb}}", "now", "tag", "measured", "frames",
                     a->frames, "frame_pixels", s->frame_pixels, "result_pixels", s->prep_pixels, "cpu_s",
                     a->cpu_s, "from_cache", a->from_cache, "card", "tag", "modelled", "up_s", a->up_s,
                     "kernel_s", a->kernel_s, "down_s", a->down_s, "card_s", a->card_s,
                     "gain_s_per_step_at_most", a->gain_s, "pays", a->preprocess_pays);
}

static json_t *reduction(const lpo_advice *a) {
    return json_pack("{s{ss sf sf sf} s{ss sf sf sf sf sb} s{ss sf sf sf}}", "now", "tag", "measured",
                     "tokens", a->tokens, "calls", a->calls, "reduce_s", a->reduce_s, "card", "tag",
                     "modelled", "up_s", a->reduce_up_s, "kernel_s", a->reduce_kernel_s, "down_s",
                     a->reduce_down_s, "card_s", a->reduce_card_s, "pays", a->reduce_pays, "logits", "tag",
                     "modelled", "bytes", a->logits_bytes, "up_s", a->logits_s, "logps_up_s", a->logps_s);
}

json_t *lpo_profile_json(const lpo_summary *s, const lpo_roofline *r, const lpo_advice *a) {
    char bound[256];
    lpo_step_bound(bound, sizeof bound, s, r);
    json_t *o =
        json_pack("{s{ss si si sf sf sf sf} so so so s{ss sf sf} ss}", "steps", "tag", "measured", "n",
                  s->n_steps, "skipped", s->n_skipped, "window_s", s->window_s, "mean_s", s->step_s, "min_s",
                  s->step_min_s, "max_s", s->step_max_s, "stages", stages(s->stage, s->n_stages, s, r), "ops",
                  stages(s->op, s->n_ops, s, r), "levels", levels(s), "overlap", "tag", "measured", "data_s",
                  s->data_s, "beside_the_step_s", s->overlap_s, "bound", bound);
    if (r->flops_s > 0)
        json_object_set_new(o, "machine",
                            json_pack("{ss sf sf sf}", "tag", "measured", "flops_per_s", r->flops_s,
                                      "bf16_flops_per_s", r->bf16_flops_s, "bytes_per_s", r->bytes_s));
    if (a->has_frames) json_object_set_new(o, "preprocess", preprocess(s, a));
    if (a->has_reduce) json_object_set_new(o, "reduce", reduction(a));
    return o;
}
