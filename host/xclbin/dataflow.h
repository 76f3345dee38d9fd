/* SPDX-License-Identifier: Apache-2.0 */
/* dataflow.h -- the calls of DATAFLOW regions as processes of sim/include/hls_fifo.h. */
#ifndef LPO_XCLBIN_DATAFLOW_H
#define LPO_XCLBIN_DATAFLOW_H
#include "leanpo/status.h"

#include <stddef.h>

/* text: C++ as `c++ -E -dD` leaves it, so that no macro, comment or conditional is left to be misread. *out:
 * malloc'd, the same text with every region rewritten; n_regions of them. What is not canonical is an error
 * with its file and line; `where` names the source before the first line marker. */
lpo_status xb_dataflow_rewrite(char **out, size_t *out_bytes, int *n_regions, const char *text,
                               size_t size_bytes, const char *where, lpo_error *err);
#endif
