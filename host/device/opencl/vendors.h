/* SPDX-License-Identifier: Apache-2.0 */
/* vendors.h -- the loader's folder of vendors without XRT's, while the platforms are first listed. */
#ifndef LPO_DEVICE_OPENCL_VENDORS_H
#define LPO_DEVICE_OPENCL_VENDORS_H
#include <stdbool.h>

typedef struct opencl_vendors {
    char dir[256]; /* the copy; "" when none was needed */
    char *before;
    bool was_set;
} opencl_vendors;

/* False: nothing but XRT's is left, or no copy could be made; list nothing. Call restore either way. */
bool opencl_vendors_hide(opencl_vendors *v);
void opencl_vendors_restore(opencl_vendors *v);
#endif
