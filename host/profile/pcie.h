/* SPDX-License-Identifier: Apache-2.0 */
/* pcie.h -- the model of a card that every [modelled] figure of the profiler comes from: one place, so that a
 * better measurement is one edit. Link: PCIe gen3 x16 as measured on such cards by others, both directions,
 * and the cost of one small transfer. Kernels: the clock they are designed for, and the share of the ideal
 * rate that published kernels of the same kind reach. No figure here was measured by us. */
#ifndef LPO_PROFILE_PCIE_H
#define LPO_PROFILE_PCIE_H
#define LPO_PCIE_UP_BYTES_S     7.5e9
#define LPO_PCIE_DOWN_BYTES_S   12.1e9
#define LPO_PCIE_TRANSFER_S     13e-6
#define LPO_FPGA_CLOCK_HZ       300e6
#define LPO_FPGA_PIXELS_CLOCK   8.0
#define LPO_FPGA_SHARE_OF_IDEAL 0.95

static inline double lpo_pcie_up_s(double bytes) {
    return LPO_PCIE_TRANSFER_S + bytes / LPO_PCIE_UP_BYTES_S;
}
static inline double lpo_pcie_down_s(double bytes) {
    return LPO_PCIE_TRANSFER_S + bytes / LPO_PCIE_DOWN_BYTES_S;
}
/* Source pixels of a frame through one compute unit of `preprocess`. */
static inline double lpo_fpga_preprocess_s(double pixels) {
    return pixels / (LPO_FPGA_PIXELS_CLOCK * LPO_FPGA_CLOCK_HZ * LPO_FPGA_SHARE_OF_IDEAL);
}
#endif
