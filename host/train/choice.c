/* SPDX-License-Identifier: Apache-2.0 */
/* choice.c -- see choice.h. */
#include "train/choice.h"

#include "device/driver.h"

#include <glob.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* More words at the end of text, as far as they fit. */
static void LPO_PRINTF(3, 4) add(char *text, size_t size_bytes, const char *fmt, ...) {
    const size_t used = strlen(text);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text + used, size_bytes - used, fmt, ap);
    va_end(ap);
}

/* ---- candidates ---- */

static bool has_node(const lpo_driver *d) {
    for (int i = 0; d->nodes && d->nodes[i]; i++) {
        glob_t found = {0};
        const bool there = glob(d->nodes[i], GLOB_NOSORT, NULL, &found) == 0;
        globfree(&found);
        if (there) return true;
    }
    return false;
}

static void note(lpo_choice *c, const char *device, const char *words) {
    add(c->note, sizeof c->note, "%s%s%s", *c->note ? "; " : "", device, words);
}

/* A driver whose nodes are there and which has no device knows why; it matters where no driver before it has
 * one. */
static void ask_why(lpo_choice *c, const lpo_driver *d) {
    lpo_device *device = NULL;
    lpo_error err;
    if (c->n == 1 && d->open(&device, 0, &err)) note(c, "", err.msg);
    if (device) d->close(device);
}

/* Device k of a driver, unless it is this processor, or of the same make as the one before: that one's time
 * stands for both. */
static void ask_one(lpo_choice *c, char last[96], const lpo_driver *d, int k) {
    lpo_trial *t = &c->trial[c->n];
    lpo_device *device;
    lpo_device_info info = {0};
    lpo_error err;
    *t = (lpo_trial){0};
    snprintf(t->device, sizeof t->device, k ? "%s:%d" : "%s", d->name, k);
    if (d->open(&device, k, &err)) {
        snprintf(t->why, sizeof t->why, "%s", err.msg);
        c->n++;
        return;
    }
    d->info(&info, device);
    d->close(device);
    if (info.is_cpu)
        note(c, t->device, " is this processor itself");
    else if (strcmp(last, info.name))
        c->n++;
    snprintf(last, 96, "%s", info.name);
}

void lpo_choice_ask(lpo_choice *c) {
    bool nodes = false;
    *c = (lpo_choice){.automatic = true, .n = 1, .device = "cpu"};
    strcpy(c->trial[0].device, "cpu");
    for (int i = 0; lpo_drivers[i]; i++) {
        char last[96] = "";
        if (!has_node(lpo_drivers[i])) continue;
        nodes = true;
        const int n = lpo_drivers[i]->count();
        if (!n) ask_why(c, lpo_drivers[i]);
        for (int k = 0; k < n && c->n < LPO_MAX_TRIALS; k++) ask_one(c, last, lpo_drivers[i], k);
    }
    c->pending = c->n > 1;
    if (c->pending) return;
    c->n = 0;
    snprintf(c->reason, sizeof c->reason, "%s%s%s",
             nodes ? "no driver offers a GPU" : "there is no device node of a GPU in /dev",
             *c->note ? "; " : "", c->note);
}

/* ---- the choice ---- */

void lpo_choice_make(lpo_choice *c) {
    const lpo_trial *cpu = &c->trial[0], *best = NULL;
    for (int i = 1; i < c->n; i++)
        if (!c->trial[i].why[0] && (!best || c->trial[i].seconds < best->seconds)) best = &c->trial[i];
    const bool moves = best && (cpu->why[0] || cpu->seconds >= LPO_CLEARLY_FASTER * best->seconds);
    snprintf(c->device, sizeof c->device, "%s", moves ? best->device : "cpu");
    c->reason[0] = 0;
    if (best) {
        add(c->reason, sizeof c->reason, "forward and backward of a micro-batch take %.3g s on %s",
            best->seconds, best->device);
        if (!cpu->why[0])
            add(c->reason, sizeof c->reason, ", %s%.3g s on cpu", cpu->unfinished ? "over " : "",
                cpu->seconds);
        if (!moves)
            add(c->reason, sizeof c->reason, ": it stays unless another is %g times as fast",
                LPO_CLEARLY_FASTER);
    }
    for (int i = 0; i < c->n; i++)
        if (c->trial[i].why[0])
            add(c->reason, sizeof c->reason, "%s%s cannot: %s", *c->reason ? "; " : "", c->trial[i].device,
                c->trial[i].why);
    if (*c->note) add(c->reason, sizeof c->reason, "; %s", c->note);
    c->pending = false;
}

void lpo_choice_fall_back(lpo_choice *c, const char *why) {
    char was[LPO_PLACE_BYTES];
    snprintf(was, sizeof was, "%s", c->device);
    strcpy(c->device, "cpu");
    snprintf(c->reason, sizeof c->reason, "%s was given up: %s", was, why);
    c->pending = false;
    c->fallbacks++;
}

void lpo_choice_say(const lpo_choice *c, bool before) {
    lpo_log(LPO_LOG_INFO, "placement: backbone on %s (auto moves no other stage)%s: %s", c->device,
            before ? ", as before" : "", c->reason);
}

/* ---- config.json ---- */

/* A driver's words may have been cut within a character. */
static json_t *words(const char *text) {
    json_t *o = json_string(text);
    return o ? o : json_string("words that are not UTF-8");
}

json_t *lpo_choice_to_json(const lpo_choice *c, const lpo_place *p) {
    json_t *trials = json_array();
    int bad = !trials;
    for (int i = 0; i < c->n; i++) {
        const lpo_trial *t = &c->trial[i];
        bad |= json_array_append_new(trials,
                                     json_pack("{ss sf sb so}", "device", t->device, "seconds", t->seconds,
                                               "unfinished", t->unfinished, "why", words(t->why)));
    }
    json_t *o = json_pack("{sb so so sI}", "auto", c->automatic, "reason", words(c->reason), "trials", trials,
                          "fallbacks", (json_int_t)c->fallbacks);
    for (int i = 0; o && i < LPO_N_STAGES; i++)
        bad |= json_object_set_new(o, lpo_stage_name((lpo_stage)i), json_string(p->device[i]));
    if (o && !bad) return o;
    json_decref(o);
    return NULL;
}

bool lpo_choice_from_json(lpo_choice *c, const json_t *o) {
    const char *device = json_string_value(json_object_get(o, lpo_stage_name(LPO_STAGE_backbone)));
    const char *reason = json_string_value(json_object_get(o, "reason"));
    const json_t *trials = json_object_get(o, "trials");
    if (!json_is_true(json_object_get(o, "auto")) || !device || strlen(device) >= LPO_PLACE_BYTES)
        return false;
    *c = (lpo_choice){.automatic = true};
    c->fallbacks = json_integer_value(json_object_get(o, "fallbacks"));
    strcpy(c->device, device);
    snprintf(c->reason, sizeof c->reason, "%s", reason ? reason : "");
    for (size_t i = 0; i < json_array_size(trials) && c->n < LPO_MAX_TRIALS; i++) {
        const json_t *t = json_array_get(trials, i);
        const char *name = json_string_value(json_object_get(t, "device")),
                   *why = json_string_value(json_object_get(t, "why"));
        lpo_trial *to = &c->trial[c->n++];
        *to = (lpo_trial){.seconds = json_number_value(json_object_get(t, "seconds")),
                          .unfinished = json_is_true(json_object_get(t, "unfinished"))};
        snprintf(to->device, sizeof to->device, "%s", name ? name : "");
        snprintf(to->why, sizeof to->why, "%s", why ? why : "");
    }
    return true;
}
