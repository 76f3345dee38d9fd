/* SPDX-License-Identifier: Apache-2.0 */
/* registry.c -- devices by name ("cuda:1"), and all there are. */
#include "device/driver.h"
#include "device/fpga/fpga.h"
#include "device/gpu/gpu.h"
#include "leanpo/device.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "name" or "name:index" -> driver and index; NULL when no driver has that name or the index is no number. */
static const lpo_driver *parse(int *index, const char *spec) {
    size_t n = strcspn(spec, ":");
    *index = 0;
    if (spec[n]) {
        char *end;
        long v = strtol(spec + n + 1, &end, 10);
        if (end == spec + n + 1 || *end || v < 0 || v > 9999) return NULL;
        *index = (int)v;
    }
    for (int i = 0; lpo_drivers[i]; i++)
        if (strlen(lpo_drivers[i]->name) == n && !memcmp(lpo_drivers[i]->name, spec, n))
            return lpo_drivers[i];
    return NULL;
}

static void known_names(char *out, size_t size_bytes) {
    size_t used = 0;
    out[0] = 0;
    for (int i = 0; lpo_drivers[i] && used < size_bytes; i++) {
        int k = snprintf(out + used, size_bytes - used, "%s%s", i ? ", " : "", lpo_drivers[i]->name);
        used += k > 0 ? (size_t)k : 0;
    }
}

lpo_status lpo_device_open(lpo_device **out, const char *name, lpo_error *err) {
    *out = NULL;
    if (!strcmp(name, "auto")) {
        for (int i = 0; lpo_drivers[i]; i++)
            if (lpo_drivers[i]->count() > 0) return lpo_drivers[i]->open(out, 0, err);
        return lpo_fail(err, LPO_ENOTFOUND, "device auto: no device on this machine");
    }
    int index;
    const lpo_driver *d = parse(&index, name);
    if (!d) {
        char known[128];
        known_names(known, sizeof known);
        return lpo_fail(err, LPO_EINVAL,
                        "device \"%.40s\": unknown; known are auto, %s, with :INDEX for all but the first",
                        name, known);
    }
    int n = d->count();
    if (n == 0) return d->open(out, index, err); /* which says why there is none */
    if (index >= n)
        return lpo_fail(err, LPO_ENOTFOUND, "device \"%s\": this machine has %d %s device%s", name, n,
                        d->name, n == 1 ? "" : "s");
    return d->open(out, index, err);
}

void lpo_device_close(lpo_device *d) {
    if (d) lpo_device_driver(d)->close(d);
}

/* The cards of one kind after the n entries there are. Their names are "SPEC (WORDS)". */
static int list_cards(lpo_device_desc *out, int max, int n, const char *kind) {
    lpo_fpga *f;
    if (lpo_fpga_open(&f, kind, NULL, NULL)) return n;
    for (int i = 0; i < lpo_fpga_cards(f); i++, n++) {
        if (n >= max) continue;
        out[n] = (lpo_device_desc){.stages = "preprocess,reduce"};
        const char *name = lpo_fpga_card_name(f, i), *words = strchr(name, '(');
        snprintf(out[n].spec, sizeof out[n].spec, "%.*s", (int)strcspn(name, " "), name);
        snprintf(out[n].name, sizeof out[n].name, "%.*s", words ? (int)strlen(words) - 2 : 0,
                 words ? words + 1 : "");
    }
    lpo_fpga_close(f);
    return n;
}

int lpo_device_list(lpo_device_desc *out, int max) {
    int n = 0;
    for (int i = 0; lpo_drivers[i]; i++) {
        int count = lpo_drivers[i]->count();
        for (int k = 0; k < count; k++) {
            lpo_device *d;
            if (lpo_drivers[i]->open(&d, k, NULL)) continue;
            lpo_device_info info;
            lpo_drivers[i]->info(&info, d);
            const bool gpu = lpo_gpu_is(d);
            lpo_device_close(d);
            if (n < max) {
                lpo_device_desc *o = &out[n];
                *o = (lpo_device_desc){.stages = "backbone", .memory_bytes = info.memory_bytes};
                if (gpu) strcpy(o->stages, "preprocess,backbone,reduce");
                if (k)
                    snprintf(o->spec, sizeof o->spec, "%s:%d", lpo_drivers[i]->name, k);
                else
                    snprintf(o->spec, sizeof o->spec, "%s", lpo_drivers[i]->name);
                snprintf(o->name, sizeof o->name, "%s", info.name);
            }
            n++;
        }
    }
    n = list_cards(out, max, n, "csim");
    return list_cards(out, max, n, "fpga");
}

int lpo_device_threads(int n) {
    if (n >= 1) omp_set_num_threads(n);
    return omp_get_max_threads();
}
