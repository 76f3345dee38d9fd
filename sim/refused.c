/* SPDX-License-Identifier: Apache-2.0 */
/* refused.c -- functions XRT's objects link to and this card does not have: AIE graphs, peer-to-peer,
 * reclocking, debuggers' raw access. Each answers -ENOSYS, which XRT reports as not supported. The names are
 * those of Debian's libxrt_swemu.a; arguments are ignored, which the x86-64 calling convention allows. */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#define REFUSE(id, symbol)                                                                                   \
    __attribute__((visibility("default"))) long refused_##id(void) __asm__(symbol);                          \
    long refused_##id(void) {                                                                                \
        return -ENOSYS;                                                                                      \
    }

REFUSE(gmio_wait, "_Z11xclGMIOWaitPvPKc")
REFUSE(graph_end, "_Z11xclGraphEndPvm")
REFUSE(graph_run, "_Z11xclGraphRunPvi")
REFUSE(cma_enable, "_Z12xclCmaEnablePvbm")
REFUSE(graph_open, "_Z12xclGraphOpenPvPKhPKcN3xrt5graph11access_modeE")
REFUSE(graph_wait, "_Z12xclGraphWaitPvm")
REFUSE(sync_aie, "_Z12xclSyncBOAIEPvRN3xrt2boEPKc18xclBOSyncDirectionmm")
REFUSE(graph_close, "_Z13xclGraphClosePv")
REFUSE(graph_reset, "_Z13xclGraphResetPv")
REFUSE(graph_resume, "_Z14xclGraphResumePv")
REFUSE(sync_aie_nb, "_Z14xclSyncBOAIENBPvRN3xrt2boEPKc18xclBOSyncDirectionmm")
REFUSE(graph_read, "_Z15xclGraphReadRTPPvPKcPcm")
REFUSE(graph_suspend, "_Z15xclGraphSuspendPv")
REFUSE(graph_wait_done, "_Z16xclGraphWaitDonePvi")
REFUSE(read_profiling, "_Z16xclReadProfilingPvi")
REFUSE(reset_aie, "_Z16xclResetAIEArrayPv")
REFUSE(stop_profiling, "_Z16xclStopProfilingPvi")
REFUSE(aie_open, "_Z17xclAIEOpenContextPvN3xrt3aie11access_modeE")
REFUSE(graph_time, "_Z17xclGraphTimeStampPv")
REFUSE(graph_update, "_Z17xclGraphUpdateRTPPvPKcS1_m")
REFUSE(load_meta, "_Z17xclLoadXclBinMetaPvPK4axlf")
REFUSE(start_profiling, "_Z17xclStartProfilingPviPKcS1_j")
REFUSE(close_export, "_Z20xclCloseExportHandlei")
REFUSE(reset, "_Z22xclInternalResetDevicePv12xclResetKind")
REFUSE(scheduler_stat, "_Z22xclUpdateSchedulerStatPv")
REFUSE(p2p, "xclP2pEnable")
REFUSE(reclock, "xclReClock2")
REFUSE(raw_read, "xclRead")
REFUSE(raw_write, "xclWrite")
REFUSE(unmanaged_read, "xclUnmgdPread")
REFUSE(unmanaged_write, "xclUnmgdPwrite")

/* CpuemShim::handleCheck and deviceQuery: XRT asks whether a handle is Debian's emulator, and what it knows.
 */
void *handle_check(void *handle) __asm__("_ZN12xclcpuemhal29CpuemShim11handleCheckEPv");
void *handle_check(void *handle) {
    (void)handle;
    return NULL;
}
uint32_t device_query(void *shim,
                      int key) __asm__("_ZN12xclcpuemhal29CpuemShim11deviceQueryEN8xrt_core5query8key_typeE");
uint32_t device_query(void *shim, int key) {
    (void)shim;
    (void)key;
    return 0;
}
