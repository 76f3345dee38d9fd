/* SPDX-License-Identifier: Apache-2.0 */
/* dtype.h -- arrays from one real dtype to another, on the host, and the names safetensors gives dtypes. */
#ifndef LPO_TENSOR_DTYPE_H
#define LPO_TENSOR_DTYPE_H
#include "kernels/op.h"
#include "leanpo/status.h"

/* n elements of src (src_dtype) -> dst (dst_dtype), round to nearest even; equal dtypes copy bytes. Both may
 * be unaligned. dst and src must not overlap. Real dtypes only (f32, bf16, f64, f16): LPO_EUNSUPPORTED
 * otherwise, unless the dtypes are equal. */
lpo_status lpo_dtype_convert(void *dst, int32_t dst_dtype, const void *src, int32_t src_dtype, int64_t n,
                             lpo_error *err);

/* "F32", "BF16", ...; NULL for no dtype of ours. */
const char *lpo_dtype_name(int32_t dtype);
/* The dtype of that name, or -1. */
int32_t lpo_dtype_parse(const char *name);
#endif
