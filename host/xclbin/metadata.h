/* SPDX-License-Identifier: Apache-2.0 */
/* metadata.h -- the XML of a container: kernels, their arguments and register offsets. */
#ifndef LPO_XCLBIN_METADATA_H
#define LPO_XCLBIN_METADATA_H
#include "base/arena.h"
#include "leanpo/xclbin.h"

/* Reads <kernel>, <arg> and <instance> of size_bytes of XML into x->kernels, allocated from `arena`. */
lpo_status xb_metadata_read(lpo_xclbin *x, lpo_arena *arena, const char *xml, size_t size_bytes,
                            const char *where, lpo_error *err);
#endif
