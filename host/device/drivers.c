/* SPDX-License-Identifier: Apache-2.0 */
/* drivers.c -- the drivers built in, and nothing else: a program that defines this table itself (the tests'
 * devices that fail on demand) is linked without this file. */
#include "device/cpu/cpu.h"
#include "device/cuda/cuda.h"
#include "device/driver.h"
#include "device/opencl/opencl.h"

const lpo_driver *const lpo_drivers[] = {&lpo_driver_cpu, &lpo_driver_ref, &lpo_driver_cuda,
                                         &lpo_driver_opencl, NULL};
