/* SPDX-License-Identifier: Apache-2.0 */
/* signature.h -- a kernel's C signature and the register map HLS gives it.
 * Register map: 0x00 control, first argument at 0x10; a 32-bit argument takes 8 bytes, a pointer or 64-bit
 * one 12. */
#ifndef LPO_XCLBIN_SIGNATURE_H
#define LPO_XCLBIN_SIGNATURE_H
#include "leanpo/status.h"

enum { XB_MAX_ARGS = 64, XB_NAME = 64, XB_TYPE = 104 };

typedef struct xb_arg {
    char name[XB_NAME],
        type[XB_TYPE];     /* as XRT's variadic calls read it: int, uint, float, double, or any other; of a
                              pointer: the C type, "const " first where it is read only */
    char c_type[32];       /* of the scalar the kernel takes */
    int pointer, memory;   /* memory: bank index of a pointer */
    unsigned size, offset; /* bytes in the register map */
} xb_arg;

typedef struct xb_kernel {
    char name[XB_NAME];
    int n_args;
    xb_arg args[XB_MAX_ARGS];
} xb_kernel;

lpo_status xb_signature_parse(xb_kernel *out, const char *text, lpo_error *err);
#endif
