/* SPDX-License-Identifier: Apache-2.0 */
/* link.h -- how the driver reaches compute units. A link is a const struct of functions; the driver knows
 * none of them by name.
 *
 *   inproc  kernels are called here, by the thread that waits for them: "csim", and where jobs go that a card
 *           failed
 *   xrt     a card, hardware or software, through XRT
 *
 * Every (unit, set of buffers) of a kernel has one run. The driver serialises what belongs to one run; runs
 * of different sets are driven from different threads. */
#ifndef LPO_DEVICE_FPGA_LINK_H
#define LPO_DEVICE_FPGA_LINK_H
#include "device/fpga/fpga.h"
#include "leanpo/xclbin.h"

enum { FPGA_MAX_ARGS = 64, FPGA_MAX_CARDS = 8, FPGA_MAX_UNITS = 32 };

/* Memory for one argument: what the host sees of it, and the link's own name for it. */
typedef struct fpga_buffer {
    void *host;
    size_t size_bytes;
    void *handle;
} fpga_buffer;

typedef enum fpga_end { FPGA_DONE, FPGA_TIMEOUT, FPGA_ABORT } fpga_end;

typedef struct fpga_link {
    /* The kernel reads and writes host memory: nothing is moved, and any pointer serves as a buffer. */
    bool host_memory;
    /* name: for people. x and path: the container, NULL where there is none. */
    lpo_status (*open)(void **card, char name[128], int index, const lpo_xclbin *x, const char *path,
                       lpo_error *err);
    void (*close)(void *card); /* after everything opened on it is closed */
    int (*units)(void *card, int kernel);
    lpo_status (*alloc)(fpga_buffer *out, void *card, int kernel, int unit, int arg, size_t size_bytes,
                        lpo_error *err);
    void (*release)(fpga_buffer *b); /* an empty one is fine */
    lpo_status (*sync)(const fpga_buffer *b, size_t size_bytes, bool to_card, lpo_error *err);
    lpo_status (*run_open)(void **run, void *card, int kernel, int unit, lpo_error *err);
    void (*run_close)(void *run); /* NULL accepted; a run that hangs is left behind */
    /* args: lpo_hls_K_args, for its scalars; buffers[a] stands for pointer argument a. Both stay until wait.
     */
    lpo_status (*start)(void *run, const void *args, const fpga_buffer *buffers, lpo_error *err);
    fpga_end (*wait)(void *run, int timeout_ms, double *modelled_s);
} fpga_link;

extern const fpga_link fpga_link_inproc, fpga_link_xrt;

/* container.c: the container by its name, $LEANPO_XCLBIN, or ours for emulation; its kernels' arguments are
 * those of abi.def. path is malloc'd. */
lpo_status fpga_container_open(lpo_xclbin **out, char **path, const char *xclbin, lpo_error *err);

/* Make XRT ready in this process for containers of this kind (emulation or hardware), and count its cards.
 * LPO_ENOTFOUND says what is missing and the command that mends it. */
lpo_status fpga_xrt_prepare(int *n_cards, const lpo_xclbin *x, const char *path, lpo_error *err);
#endif
