/* SPDX-License-Identifier: Apache-2.0 */
/* train_place.c -- `--place`: what a text means, and what is refused in words. */
#include "train/place.h"

#include <criterion/criterion.h>
#include <string.h>

static lpo_place place;
static lpo_error err;

static void expect(const char *spec, const char *const device[LPO_N_STAGES]) {
    cr_assert_eq(lpo_place_parse(&place, spec, &err), LPO_OK, "%s: %s", spec, err.msg);
    for (int i = 0; i < LPO_N_STAGES; i++)
        cr_expect_str_eq(place.device[i], device[i], "%s: %s is on %s", spec ? spec : "NULL",
                         lpo_stage_name((lpo_stage)i), place.device[i]);
}

/* What is not named is left open; a device without a stage is the backbone's; the last word on a stage wins.
 */
Test(train_place, meaning) {
    static const char *const open[] = {"auto", "auto", "auto", "auto"};
    expect(NULL, open);
    expect("", open);
    expect("auto", open);
    expect("cuda:1", (const char *const[]){"auto", "auto", "cuda:1", "auto"});
    expect("backbone=cpu,preprocess=csim,reduce=fpga:1",
           (const char *const[]){"auto", "csim", "cpu", "fpga:1"});
    expect("preprocess=fpga:1,reduce=fpga:1", (const char *const[]){"auto", "fpga:1", "auto", "fpga:1"});
    expect("opencl,decode=cpu,reduce=csim,reduce=auto",
           (const char *const[]){"cpu", "auto", "opencl", "auto"});
}

/* Each refusal names what was written and what could be. */
Test(train_place, refusals) {
    static const struct {
        const char *spec, *says[3];
        lpo_status status;
    } bad[] = {
        {"preproces=cpu", {"\"preproces\"", "decode, preprocess, backbone, reduce"}, LPO_EINVAL},
        {"=cpu", {"unknown stage \"\""}, LPO_EINVAL},
        {"reduce=", {"no device in \"reduce=\"", "STAGE=DEVICE"}, LPO_EINVAL},
        {"cpu,,reduce=cpu", {"no device in \"\""}, LPO_EINVAL},
        {"preprocess=fpga:0,reduce=fpga", {"preprocess is on fpga:0 and reduce on fpga;"}, LPO_EUNSUPPORTED},
        {"decode=fpga", {"decode=fpga", "runs on cpu"}, LPO_EUNSUPPORTED},
        {"preprocess=tpu", {"preprocess=tpu", "cpu, csim, fpga"}, LPO_EUNSUPPORTED},
        {"reduce=fpgas", {"reduce=fpgas", "cpu, csim, fpga"}, LPO_EUNSUPPORTED},
        {"reduce=fp", {"reduce=fp:", ":INDEX"}, LPO_EUNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect_eq(lpo_place_parse(&place, bad[i].spec, &err), bad[i].status, "%s", bad[i].spec);
        for (int k = 0; k < 3 && bad[i].says[k]; k++)
            cr_expect(strstr(err.msg, bad[i].says[k]), "%s: \"%s\" does not say \"%s\"", bad[i].spec, err.msg,
                      bad[i].says[k]);
    }
    char longer[100] = "reduce=";
    memset(longer + 7, 'x', 80);
    cr_expect_eq(lpo_place_parse(&place, longer, &err), LPO_EINVAL);
}
