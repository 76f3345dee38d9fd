/* SPDX-License-Identifier: Apache-2.0 */
/* place.c -- see place.h. */
#include "train/place.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *kinds;
} stages[LPO_N_STAGES] = {
#define LPO_X(stage, kinds) {#stage, kinds},
    LPO_STAGE_LIST(LPO_X)
#undef LPO_X
};

const char *lpo_stage_name(lpo_stage s) {
    return stages[s].name;
}

bool lpo_place_is(const char *device, const char *kind) {
    const size_t n = strcspn(device, ":");
    return strlen(kind) == n && !memcmp(device, kind, n);
}

/* May the stage be on this kind of device? */
static bool takes(lpo_stage s, const char *device) {
    const size_t n = strcspn(device, ":");
    if (!stages[s].kinds || !strcmp(device, "auto")) return true;
    for (const char *k = stages[s].kinds; *k; k += strspn(k, ", ")) {
        const size_t len = strcspn(k, ",");
        if (len == n && !memcmp(k, device, n)) return true;
        k += len;
    }
    return false;
}

/* "stage=device" or "device", n bytes. */
static lpo_status place_one(lpo_place *out, const char *spec, const char *p, size_t n, lpo_error *err) {
    const char *eq = memchr(p, '=', n), *device = eq ? eq + 1 : p;
    const size_t n_device = n - (size_t)(device - p), n_stage = eq ? (size_t)(eq - p) : 0;
    int s = eq ? 0 : LPO_STAGE_backbone;
    if (n_device == 0 || n_device >= LPO_PLACE_BYTES)
        return lpo_fail(err, LPO_EINVAL, "--place %s: no device in \"%.*s\" (write STAGE=DEVICE,...)", spec,
                        (int)n, p);
    while (eq && s < LPO_N_STAGES &&
           (strlen(stages[s].name) != n_stage || memcmp(stages[s].name, p, n_stage)))
        s++;
    if (s == LPO_N_STAGES)
        return lpo_fail(err, LPO_EINVAL,
                        "--place %s: unknown stage \"%.*s\" (stages: decode, preprocess, backbone, reduce)",
                        spec, (int)n_stage, p);
    memcpy(out->device[s], device, n_device);
    out->device[s][n_device] = 0;
    if (takes((lpo_stage)s, out->device[s])) return LPO_OK;
    return lpo_fail(err, LPO_EUNSUPPORTED, "--place %s=%s: this stage runs on %s (:INDEX for one of several)",
                    stages[s].name, out->device[s], stages[s].kinds);
}

/* A process takes one set of FPGA cards. */
static lpo_status check_cards(const lpo_place *p, const char *spec, lpo_error *err) {
    const char *prep = p->device[LPO_STAGE_preprocess], *reduce = p->device[LPO_STAGE_reduce];
    if (!lpo_place_is(prep, "fpga") || !lpo_place_is(reduce, "fpga") || !strcmp(prep, reduce)) return LPO_OK;
    return lpo_fail(
        err, LPO_EUNSUPPORTED,
        "--place %s: preprocess is on %s and reduce on %s; put both on one (fpga means every card)", spec,
        prep, reduce);
}

lpo_status lpo_place_parse(lpo_place *out, const char *spec, lpo_error *err) {
    for (int i = 0; i < LPO_N_STAGES; i++) strcpy(out->device[i], "auto");
    lpo_status s = LPO_OK;
    for (const char *p = spec ? spec : ""; *p && !s;) {
        const size_t n = strcspn(p, ",");
        s = place_one(out, spec, p, n, err);
        p += n + (p[n] == ',');
    }
    return s ? s : check_cards(out, spec, err);
}
