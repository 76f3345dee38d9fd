/* SPDX-License-Identifier: Apache-2.0 */
/* limits.h -- sizes the hardware is built for. Frames beyond them stay with another device. */
#ifndef LPO_HLS_PREPROCESS_LIMITS_H
#define LPO_HLS_PREPROCESS_LIMITS_H
enum {
    HLS_LANES = 8,      /* rows that move together */
    HLS_MAX_IN = 4096,  /* width and height of the crop */
    HLS_MAX_OUT = 2048, /* width and height of the result */
    HLS_RING = 64,      /* rows kept for a vertical pass, a power of two */
    HLS_MAX_TAPS = 56,  /* longest window, padded: ring less one band. Scales down to 1/13, blur up to 9 */
    HLS_MAX_WEIGHTS =
        65536, /* words of a horizontal pass's table: any resize; blur of results up to 1170 wide */
    HLS_MAX_PATCH = 32,
    HLS_WORD = 64 /* bytes of a memory word */
};
#endif
