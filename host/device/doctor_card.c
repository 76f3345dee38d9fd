/* SPDX-License-Identifier: Apache-2.0 */
/* doctor_card.c -- what an FPGA card needs, looked at without touching a device: XRT ends the whole process
 * when a variable is wrong, so each is judged here first. A variable that is not set is absent, which is
 * fine: leanpo sets those of the software card for itself. One that is set to something that cannot work is
 * broken. */
#include "doctor_card.h"
#include "leanpo/xclbin.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { AMD_FPGA_VENDOR = 0x10ee };

static const char to_the_card[] = "eval \"$(leanpo devices --xrt-env)\" for the software card";

static void set(lpo_finding *f, const char *name, lpo_finding_state state, const char *fix) {
    f->name = name;
    f->state = state;
    f->fix = state == LPO_FOUND ? NULL : fix;
}

static bool is_there(const char *root, const char *path, int mode) {
    char at[4400];
    snprintf(at, sizeof at, "%s%s", root, path);
    return access(at, mode) == 0;
}

static bool is_emulation(void) {
    const char *mode = getenv("XCL_EMULATION_MODE");
    return mode && strcmp(mode, "sw_emu") == 0;
}

static void xilinx_xrt(lpo_finding *f) {
    const char *dir = getenv("XILINX_XRT");
    char shim[4200];
    if (!dir) {
        set(f, "XILINX_XRT", LPO_ABSENT,
            "eval \"$(leanpo devices --xrt-env)\", or export XILINX_XRT=/opt/xilinx/xrt for a card");
        snprintf(f->detail, sizeof f->detail,
                 "not set: leanpo sets it itself, other XRT programs end at once");
        return;
    }
    snprintf(shim, sizeof shim, "%s/lib/libxrt_swemu.so.2", dir);
    bool is_usable = is_there("", dir, R_OK | X_OK) && (!is_emulation() || is_there("", shim, R_OK));
    set(f, "XILINX_XRT", is_usable ? LPO_FOUND : LPO_BROKEN, to_the_card);
    snprintf(f->detail, sizeof f->detail, "%.160s%s", dir,
             is_usable        ? ""
             : is_emulation() ? ": no lib/libxrt_swemu.so.2 in it, which sw_emu needs"
                              : ": no such folder");
}

static void emulation_mode(lpo_finding *f) {
    const char *mode = getenv("XCL_EMULATION_MODE");
    bool is_known = !mode || is_emulation();
    set(f, "XCL_EMULATION_MODE", is_known ? LPO_FOUND : LPO_BROKEN,
        "unset XCL_EMULATION_MODE for a card, or take sw_emu");
    snprintf(f->detail, sizeof f->detail, "%.100s",
             !mode      ? "not set: XRT programs look for a real card"
             : is_known ? "sw_emu: the software card"
                        : mode);
    if (!is_known)
        strncat(f->detail, ": only sw_emu is there, hw_emu needs Vitis",
                sizeof f->detail - strlen(f->detail) - 1);
}

static void emconfig(lpo_finding *f) {
    const char *dir = getenv("EMCONFIG_PATH");
    char file[4200];
    snprintf(file, sizeof file, "%s/emconfig.json", dir ? dir : ".");
    bool is_usable = is_there("", file, R_OK);
    set(f, "EMCONFIG_PATH",
        is_usable               ? LPO_FOUND
        : dir || is_emulation() ? LPO_BROKEN
                                : LPO_ABSENT,
        to_the_card);
    snprintf(f->detail, sizeof f->detail, "%.160s%s", file,
             is_usable ? "" : ": not there; only emulation reads it");
}

static void card_program(lpo_finding *f) {
    char dir[4096] = "", program[4200];
    lpo_error err;
    set(f, "software card", LPO_ABSENT, "scripts/packages install card, then build LeanPO again");
    if (lpo_card_dir(dir, sizeof dir, &err)) {
        snprintf(f->detail, sizeof f->detail, "%s", err.msg);
        if (getenv("LEANPO_SIM"))
            set(f, "software card", LPO_BROKEN, "unset LEANPO_SIM, or name the folder of the installed card");
        return;
    }
    const char *const parts[] = {"bin/leanpo-card", "xrt/lib/libxrt_swemu.so.2", "leanpo-kernels.xclbin"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        snprintf(program, sizeof program, "%s/%s", dir, parts[i]);
        if (is_there("", program, i ? R_OK : X_OK)) continue;
        snprintf(f->detail, sizeof f->detail, "%s is not in %.150s", parts[i], dir);
        return;
    }
    set(f, "software card", LPO_FOUND, NULL);
    snprintf(f->detail, sizeof f->detail, "%.200s", dir);
}

/* Cards by PCI vendor; returns how many, the first one's address in `address`. */
static int pci_cards(const char *root, char address[64]) {
    char path[4400];
    int n = 0;
    snprintf(path, sizeof path, "%s/sys/bus/pci/devices", root);
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));) {
        unsigned vendor = 0;
        snprintf(path, sizeof path, "%s/sys/bus/pci/devices/%.200s/vendor", root, e->d_name);
        FILE *file = e->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (!file) continue;
        if (fscanf(file, "%x", &vendor) == 1 && vendor == AMD_FPGA_VENDOR && n++ == 0)
            snprintf(address, 64, "%.60s", e->d_name);
        fclose(file);
    }
    if (d) closedir(d);
    return n;
}

static int count(const char *root, const char *dir, const char *prefix, char first[256]) {
    char path[4400];
    int n = 0;
    snprintf(path, sizeof path, "%s%s", root, dir);
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.' && strncmp(e->d_name, prefix, strlen(prefix)) == 0 && n++ == 0)
            snprintf(first, 256, "%s", e->d_name);
    if (d) closedir(d);
    return n;
}

/* A card without its driver, its node or its shell is broken; without a card none of them is missed. */
static void hardware(lpo_finding out[4], const char *root) {
    char address[64] = "", node[256] = "", platform[256] = "", path[300];
    int n_cards = pci_cards(root, address);
    const char *unneeded = n_cards ? NULL : "nothing to do: only a card needs it";
    lpo_finding_state missing = n_cards ? LPO_BROKEN : LPO_ABSENT;
    set(&out[0], "FPGA card", n_cards ? LPO_FOUND : LPO_ABSENT,
        "none is needed: the software card stands in (docs/fpga.md)");
    if (n_cards)
        snprintf(out[0].detail, sizeof out->detail, "%d AMD function%s on PCIe, first %s", n_cards,
                 n_cards > 1 ? "s" : "", address);
    else
        snprintf(out[0].detail, sizeof out->detail, "no PCIe device of vendor 10ee");

    bool has_driver = is_there(root, "/sys/module/xocl", R_OK);
    set(&out[1], "driver xocl", has_driver ? LPO_FOUND : missing,
        "modprobe xocl; it comes with AMD's xrt package (DKMS), Debian has none");
    if (!has_driver && unneeded) out[1].fix = unneeded;
    snprintf(out[1].detail, sizeof out->detail, "%s", has_driver ? "loaded" : "not loaded");

    int n_nodes = n_cards ? count(root, "/dev/dri", "renderD", node) : 0; /* else they are a GPU's */
    snprintf(path, sizeof path, "/dev/dri/%.200s", node);
    bool is_open = n_nodes && is_there(root, path, R_OK | W_OK);
    set(&out[2], "/dev/dri", is_open ? LPO_FOUND : missing,
        n_nodes ? "usermod -aG render,video $USER, then log in again" : "modprobe xocl, then xbutil examine");
    if (!is_open && unneeded) out[2].fix = unneeded;
    snprintf(out[2].detail, sizeof out->detail, "%s%s", n_nodes ? path : "no renderD node",
             n_nodes && !is_open ? ": may not be opened" : "");

    bool has_shell = count(root, "/opt/xilinx/platforms", "xilinx_", platform) ||
                     count(root, "/lib/firmware/xilinx", "", platform);
    set(&out[3], "platform shell", has_shell ? LPO_FOUND : missing,
        "install AMD's deployment package of the card's platform (bitstreams/README.md), then xbmgmt program "
        "--base");
    if (!has_shell && unneeded) out[3].fix = unneeded;
    snprintf(out[3].detail, sizeof out->detail, "%s",
             has_shell ? platform : "none in /opt/xilinx/platforms and /lib/firmware/xilinx");
}

void lpo_doctor_card(lpo_finding out[LPO_DOCTOR_CARD_FINDINGS], const char *root) {
    memset(out, 0, LPO_DOCTOR_CARD_FINDINGS * sizeof *out);
    lpo_doctor_library(&out[0], "XRT", (const char *const[]){"libxrt_coreutil.so.2", NULL},
                       "apt-get install libxrt1 (or AMD's xrt package)");
    lpo_doctor_library(&out[1], "XRT OpenCL", (const char *const[]){"libxilinxopencl.so.2", NULL},
                       "apt-get install libxrt1; only OpenCL hosts need it");
    card_program(&out[2]);
    xilinx_xrt(&out[3]);
    emulation_mode(&out[4]);
    emconfig(&out[5]);
    hardware(out + 6, root);
}
