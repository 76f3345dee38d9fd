/* SPDX-License-Identifier: Apache-2.0 */
/* Truths: doctor tells what is absent from what is broken; whatever is not found comes with the command that
 * mends it; each missing piece of a real card (driver, node, shell) is named by itself, and none of them
 * counts where there is no card. */
#include "device/doctor_card.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[] = "/tmp/leanpo-doctor-XXXXXX";

static void setup(void) {
    cr_assert_not_null(mkdtemp(root));
    unsetenv("XILINX_XRT");
    unsetenv("XCL_EMULATION_MODE");
    unsetenv("EMCONFIG_PATH");
    unsetenv("OCL_ICD_VENDORS");
    unsetenv("LEANPO_SIM");
}
static void teardown(void) {
    char command[100];
    snprintf(command, sizeof command, "rm -rf %s", root);
    cr_assert_eq(system(command), 0);
}
TestSuite(doctor, .init = setup, .fini = teardown);

/* Makes the folders of a path below the root, and the file at its end when there is text for it. */
static void make(const char *path, const char *text) {
    char at[512];
    snprintf(at, sizeof at, "%s%s", root, path);
    for (char *s = at + sizeof root; (s = strchr(s, '/')); s++) {
        *s = 0;
        mkdir(at, 0700);
        *s = '/';
    }
    if (!text) {
        mkdir(at, 0700);
        return;
    }
    FILE *f = fopen(at, "w");
    cr_assert_not_null(f);
    fputs(text, f);
    fclose(f);
}

static lpo_finding find(const char *name) {
    lpo_finding all[LPO_DOCTOR_CARD_FINDINGS];
    lpo_doctor_card(all, root);
    for (int i = 0; i < LPO_DOCTOR_CARD_FINDINGS; i++) {
        cr_expect_eq(all[i].state == LPO_FOUND, all[i].fix == NULL, "%s", all[i].name);
        cr_expect(*all[i].detail, "%s", all[i].name);
    }
    int at = 0;
    while (at < LPO_DOCTOR_CARD_FINDINGS && strcmp(all[at].name, name) != 0) at++;
    cr_assert_lt(at, LPO_DOCTOR_CARD_FINDINGS, "no finding is called %s", name);
    return all[at];
}
static void expect(const char *name, lpo_finding_state state, const char *fix) {
    lpo_finding f = find(name);
    cr_expect_eq(f.state, state, "%s: %d, %s", name, f.state, f.detail);
    if (fix) cr_expect(f.fix && strstr(f.fix, fix), "%s: %s", name, f.fix);
}

Test(doctor, a_machine_without_a_card_misses_nothing) {
    make("/dev/dri/renderD128", ""); /* a GPU's */
    make("/sys/bus/pci/devices/0000:00:02.0/vendor", "0x10de\n");
    expect("FPGA card", LPO_ABSENT, "software card");
    expect("driver xocl", LPO_ABSENT, NULL);
    expect("/dev/dri", LPO_ABSENT, NULL);
    expect("platform shell", LPO_ABSENT, NULL);
}

Test(doctor, each_missing_piece_of_a_card_is_named) {
    make("/sys/bus/pci/devices/0000:3b:00.0/vendor", "0x10ee\n");
    make("/sys/bus/pci/devices/0000:3b:00.1/vendor", "0x10ee\n");
    expect("FPGA card", LPO_FOUND, NULL);
    expect("driver xocl", LPO_BROKEN, "modprobe xocl");
    expect("/dev/dri", LPO_BROKEN, "xbutil examine");
    expect("platform shell", LPO_BROKEN, "xbmgmt program");
    make("/sys/module/xocl", NULL);
    expect("driver xocl", LPO_FOUND, NULL);
    make("/dev/dri/renderD128", "");
    expect("/dev/dri", LPO_FOUND, NULL);
    make("/opt/xilinx/platforms/xilinx_u55c_gen3x16_xdma_3_202210_1", NULL);
    expect("platform shell", LPO_FOUND, NULL);
    cr_expect(strstr(find("platform shell").detail, "u55c"));
}

Test(doctor, a_variable_that_cannot_work_is_broken_one_not_set_is_absent) {
    char dir[256];
    expect("XILINX_XRT", LPO_ABSENT, "devices --xrt-env");
    expect("EMCONFIG_PATH", LPO_ABSENT, "devices --xrt-env");
    expect("XCL_EMULATION_MODE", LPO_FOUND, NULL);
    setenv("XILINX_XRT", "/nonexistent", 1);
    expect("XILINX_XRT", LPO_BROKEN, "devices --xrt-env");
    make("/xrt", NULL);
    snprintf(dir, sizeof dir, "%s/xrt", root);
    setenv("XILINX_XRT", dir, 1);
    expect("XILINX_XRT", LPO_FOUND, NULL);
    setenv("XCL_EMULATION_MODE", "sw_emu", 1); /* which needs the shim */
    expect("XILINX_XRT", LPO_BROKEN, "devices --xrt-env");
    expect("EMCONFIG_PATH", LPO_BROKEN, "devices --xrt-env");
    make("/xrt/lib/libxrt_swemu.so.2", "");
    make("/env/emconfig.json", "{}");
    snprintf(dir, sizeof dir, "%s/env", root);
    setenv("EMCONFIG_PATH", dir, 1);
    expect("XILINX_XRT", LPO_FOUND, NULL);
    expect("EMCONFIG_PATH", LPO_FOUND, NULL);
    setenv("XCL_EMULATION_MODE", "hw_emu", 1);
    expect("XCL_EMULATION_MODE", LPO_BROKEN, "unset XCL_EMULATION_MODE");
}

Test(doctor, the_software_card_is_complete_or_said_to_lack_a_part) {
    char dir[256], program[300];
    setenv("LEANPO_SIM", "/nonexistent", 1);
    expect("software card", LPO_BROKEN, "unset LEANPO_SIM");
    make("/sim/include/card_kernel.h", "");
    snprintf(dir, sizeof dir, "%s/sim", root);
    setenv("LEANPO_SIM", dir, 1);
    expect("software card", LPO_ABSENT, "scripts/packages install card");
    cr_expect(strstr(find("software card").detail, "bin/leanpo-card"));
    make("/sim/bin/leanpo-card", "");
    snprintf(program, sizeof program, "%s/bin/leanpo-card", dir);
    chmod(program, 0700);
    expect("software card", LPO_ABSENT, NULL);
    cr_expect(strstr(find("software card").detail, "libxrt_swemu.so.2"));
    make("/sim/xrt/lib/libxrt_swemu.so.2", "");
    make("/sim/leanpo-kernels.xclbin", "");
    expect("software card", LPO_FOUND, NULL);
}

Test(doctor, opencl_vendors_may_be_a_file_and_must_exist) {
    lpo_finding all[32];
    char icd[256];
    make("/xilinx.icd", "libxilinxopencl.so.2\n");
    snprintf(icd, sizeof icd, "%s/xilinx.icd", root);
    for (int round = 0; round < 2; round++) {
        setenv("OCL_ICD_VENDORS", round ? "/nonexistent" : icd, 1);
        int n = lpo_doctor(all, 32), seen = 0;
        cr_assert_leq(n, 32);
        for (int i = 0; i < n; i++) {
            if (strcmp(all[i].name, "OpenCL platforms")) continue;
            seen = 1;
            cr_expect_eq(all[i].state, round ? LPO_BROKEN : LPO_FOUND, "%s", all[i].detail);
        }
        cr_expect(seen);
    }
}
