/* SPDX-License-Identifier: Apache-2.0 */
/* card_fifo.c -- runs a kernel of kernels/fifo.cpp on n values: `card_fifo t.xclbin late|many|rows|tally n`.
 * Prints the run's state and "right" or "wrong". */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xrt/xrt_bo.h>
#include <xrt/xrt_device.h>
#include <xrt/xrt_kernel.h>

static int tally(xrtDeviceHandle d, xuid_t uuid) {
    int right = 1;
    for (int cu = 1; cu <= 2; cu++) {
        char name[40];
        snprintf(name, sizeof name, "tally:{tally_%d}", cu);
        xrtKernelHandle k = xrtPLKernelOpen(d, uuid, name);
        xrtBufferHandle out = xrtBOAlloc(d, 4096, 0, 0);
        for (int i = 1; i <= 3; i++) {
            xrtRunHandle r = xrtKernelRun(k, out);
            right &= xrtRunWaitFor(r, 20000) == ERT_CMD_STATE_COMPLETED;
            xrtBOSync(out, XCL_BO_SYNC_BO_FROM_DEVICE, 4096, 0);
            right &= *(int *)xrtBOMap(out) == i;
            xrtRunClose(r);
        }
        xrtBOFree(out);
        xrtKernelClose(k);
    }
    return puts(right ? "4 right" : "4 wrong"), 0;
}

int main(int argc, char **argv) {
    xuid_t uuid;
    if (argc != 4) return 2;
    int n = atoi(argv[3]), sum = 0, right = 1;
    xrtDeviceHandle d = xrtDeviceOpen(0);
    if (!d || xrtDeviceLoadXclbinFile(d, argv[1])) return 2;
    xrtDeviceGetXclbinUUID(d, uuid);
    if (!strcmp(argv[2], "tally")) return tally(d, uuid);
    xrtKernelHandle k = xrtPLKernelOpen(d, uuid, argv[2]);
    size_t size = (size_t)n * sizeof(int);
    xrtBufferHandle in = xrtBOAlloc(d, size, 0, 0), out = xrtBOAlloc(d, size, 0, 0);
    int *a = xrtBOMap(in), *b = xrtBOMap(out);
    for (int i = 0; i < n; i++) sum += a[i] = 3 * i + 1;
    xrtBOSync(in, XCL_BO_SYNC_BO_TO_DEVICE, size, 0);
    xrtRunHandle r = xrtKernelRun(k, in, out, n);
    int state = (int)xrtRunWaitFor(r, 20000);
    xrtBOSync(out, XCL_BO_SYNC_BO_FROM_DEVICE, size, 0);
    for (int i = 0; i < n; i++) right &= b[i] == (strcmp(argv[2], "late") ? 2 * a[i] : a[i] + sum);
    printf("%d %s\n", state, right ? "right" : "wrong");
    xrtRunClose(r);
    xrtBOFree(in), xrtBOFree(out);
    xrtKernelClose(k);
    xrtDeviceClose(d);
    return 0;
}
