/* SPDX-License-Identifier: Apache-2.0 */
/* fpga.h -- the FPGA kernels of hls/abi.def on a card: hardware or sw_emu through XRT, or called in this
 * process ("csim").
 *
 * A job is one run of one kernel. Its arguments are the kernel's lpo_hls_K_args with host pointers; the card
 * object allocates buffers in the bank each argument is wired to, moves inputs up, starts a free compute
 * unit, and moves outputs down when the job is waited for. Jobs of one kernel overlap: two buffer sets for
 * every compute unit, so job n+1 is uploaded while job n runs. Which unit a job gets does not change a bit of
 * its result.
 *
 * A job that times out or aborts: the card is reset, the job runs once more; failing again, the kernel moves
 * to the in-process link for good (or to the other cards, where it still works), with one warning. The bits
 * are the same everywhere, so nothing is lost; lpo_fpga_stats counts all of it. Only what the in-process link
 * itself refuses is an error.
 *
 * LEANPO_FPGA_TIMEOUT_MS (20000) is how long a run may take; LEANPO_FPGA_VERIFY=N repeats every N-th run in
 * process and compares the bytes: a difference counts as an abort. */
#ifndef LPO_DEVICE_FPGA_H
#define LPO_DEVICE_FPGA_H
#include "hls/abi.h"
#include "leanpo/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct lpo_fpga lpo_fpga;
typedef struct lpo_fpga_job lpo_fpga_job;

/* device: "csim", "fpga" (all cards found), "fpga:1" (that card). xclbin: the container to load, or NULL:
 * $LEANPO_XCLBIN, else for emulation the one built from hls/ that is installed beside the program. "fpga" on
 * a machine without XRT, a card or emulation is LPO_ENOTFOUND with the command that mends it. */
lpo_status lpo_fpga_open(lpo_fpga **out, const char *device, const char *xclbin, lpo_error *err);
void lpo_fpga_close(lpo_fpga *f);             /* waits for the jobs under way; NULL accepted */
const char *lpo_fpga_name(const lpo_fpga *f); /* "csim", "fpga:0 (xilinx_u55c..., sw_emu, 2 CUs)" */
int lpo_fpga_cards(const lpo_fpga *f);
const char *lpo_fpga_card_name(const lpo_fpga *f, int i); /* as lpo_fpga_name, of one card */

typedef enum lpo_hls_kernel_id {
#define HLS_KERNEL(k) LPO_HLS_##k,
#define HLS_ARG(k, arg, type, kind, dir, b)
#define HLS_LAST(k, arg, type, kind, dir, b)
#include "hls/abi.def"
    LPO_HLS_N_KERNELS
} lpo_hls_kernel_id;

/* Copies the scalars and every input, or borrows them until lpo_fpga_wait when `borrow` is set; outputs are
 * the card's from now on and written, whole, by the end of lpo_fpga_wait. size_bytes[a]: bytes behind pointer
 * argument a (HLS_ARG_K_a); 0 with a NULL pointer: an argument not used. resident bit a: the input is the
 * same bytes as in the last job that gave this pointer and size with the bit set, so it need not be moved
 * again (weight tables); lpo_fpga_forget when its memory is about to change. Blocks while all buffer sets are
 * in use; they come free by themselves, so any number of jobs may be waited for later. Any thread. */
lpo_status lpo_fpga_submit(lpo_fpga_job **job, lpo_fpga *f, lpo_hls_kernel_id kernel, const void *args,
                           const size_t *size_bytes, uint64_t resident, bool borrow, lpo_error *err);
/* Outputs have arrived; frees the job. */
lpo_status lpo_fpga_wait(lpo_fpga_job *job, lpo_error *err);
void lpo_fpga_forget(lpo_fpga *f, const void *host);

typedef struct lpo_fpga_stats {
    uint64_t jobs, retries, timeouts, aborts, fallbacks; /* fallbacks: jobs run in process instead */
    uint64_t bytes_up, bytes_down;
    double modelled_s; /* what runs in process would take at 300 MHz: modelled, never measured */
} lpo_fpga_stats;
/* Since opening; of all kernels for LPO_HLS_N_KERNELS. */
void lpo_fpga_get_stats(lpo_fpga_stats *out, lpo_fpga *f, lpo_hls_kernel_id kernel);
#endif
