/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_device.c -- devices and doctor. */
#include "cli.h"
#include "leanpo/device.h"
#include "leanpo/doctor.h"
#include "leanpo/prep.h"

#include <stdio.h>
#include <string.h>

enum { MAX = 64 };

int cmd_devices(int argc, char **argv) {
    int json = 0, xrt_env = 0, n_rest, rc;
    const cli_option opts[] = {{"json", CLI_FLAG, &json, NULL, "as JSON"},
                               {"xrt-env", CLI_FLAG, &xrt_env, NULL,
                                "environment of the software card: eval \"$(leanpo devices --xrt-env)\""},
                               {0}};
    if ((rc = cli_parse("devices", opts, argc, argv, &n_rest, NULL, NULL))) return rc;
    if (xrt_env) return cli_print_xrt_env();
    lpo_device_desc d[MAX];
    int n = lpo_device_list(d, MAX);
    json_t *list = json_array();
    bool fpga = false;
    for (int i = 0; i < n && i < MAX; i++) {
        fpga |= !strncmp(d[i].spec, "fpga", 4);
        if (json)
            json_array_append_new(list,
                                  json_pack("{ss ss ss sI}", "device", d[i].spec, "name", d[i].name, "stages",
                                            d[i].stages, "memory_bytes", (json_int_t)d[i].memory_bytes));
        else if (d[i].memory_bytes)
            printf("%-8s %s, %.1f GiB: %s\n", d[i].spec, d[i].name, (double)d[i].memory_bytes / (1 << 30),
                   d[i].stages);
        else
            printf("%-8s %s: %s\n", d[i].spec, d[i].name, d[i].stages);
    }
    if (json) return cli_print_json(list);
    json_decref(list);
    lpo_error err;
    lpo_prep_engine *e;
    if (!fpga && lpo_prep_engine_open(&e, "fpga", NULL, &err)) printf("%-8s fpga: %s\n", "-", err.msg);
    lpo_finding f[MAX];
    n = lpo_doctor(f, MAX);
    for (int i = 0; i < n && i < MAX; i++)
        if (f[i].state != LPO_FOUND) printf("%-8s %s: %s\n", "-", f[i].name, f[i].detail);
    puts("--place STAGE=DEVICE,... chooses. Without it a stage is on cpu, but train tries GPUs for the "
         "backbone "
         "(leanpo doctor says more).");
    return CLI_OK;
}

int cmd_doctor(int argc, char **argv) {
    static const char *const word[] = {"ok", "absent", "BROKEN"};
    int json = 0, n_rest, rc;
    const cli_option opts[] = {{"json", CLI_FLAG, &json, NULL, "as JSON"}, {0}};
    if ((rc = cli_parse("doctor", opts, argc, argv, &n_rest, NULL, NULL))) return rc;
    lpo_finding f[MAX];
    int n = lpo_doctor(f, MAX), broken = 0;
    json_t *list = json_array();
    for (int i = 0; i < n && i < MAX; i++) {
        broken |= f[i].state == LPO_BROKEN;
        if (json)
            json_array_append_new(list, json_pack("{ss ss ss ss*}", "name", f[i].name, "state",
                                                  word[f[i].state], "detail", f[i].detail, "fix", f[i].fix));
        else
            printf("%-18s %-7s %s\n%s%s%s", f[i].name, word[f[i].state], f[i].detail,
                   f[i].fix ? "                           -> " : "", f[i].fix ? f[i].fix : "",
                   f[i].fix ? "\n" : "");
    }
    if (json) {
        rc = cli_print_json(list);
    } else {
        json_decref(list);
        puts(broken ? "Something is broken: see above."
                    : "Training on the CPU works here; what is absent is optional.");
    }
    return rc ? rc : broken ? CLI_FAILED : CLI_OK;
}
