/* SPDX-License-Identifier: Apache-2.0 */
/* cpu.h -- the two drivers over host memory: `cpu` runs kernels/cpu, `ref` runs kernels/ref. */
#ifndef LPO_DEVICE_CPU_H
#define LPO_DEVICE_CPU_H
#include "device/driver.h"

extern const lpo_driver lpo_driver_cpu;
extern const lpo_driver lpo_driver_ref;
#endif
