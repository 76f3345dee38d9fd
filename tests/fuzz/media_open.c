/* SPDX-License-Identifier: Apache-2.0 */
/* media_open.c -- any bytes, offered as a video file: opened, counted, up to three frames decoded and
 * converted, or refused with a message. Limits are tight so that a mutated header cannot ask for much. */
#include "leanpo/media.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Touch every byte the frame claims to have: the sanitizer checks that they are there. */
static lpo_status touch(void *user, int i, const lpo_frame *f, lpo_error *err) {
    uint32_t *sum = user;
    (void)i, (void)err;
    int cw = f->pixfmt == LPO_PIX_YUV444P || f->pixfmt == LPO_PIX_GBRP ? f->width : (f->width + 1) / 2;
    int ch = f->pixfmt == LPO_PIX_YUV420P || f->pixfmt == LPO_PIX_NV12 ? (f->height + 1) / 2 : f->height;
    for (int k = 0; k < 3 && f->plane[k]; k++) {
        int w =
            k ? cw * (f->pixfmt == LPO_PIX_NV12 ? 2 : 1) : f->width * (f->pixfmt == LPO_PIX_RGB24 ? 3 : 1);
        for (int y = 0; y < (k ? ch : f->height); y++)
            for (int x = 0; x < w; x++) *sum += f->plane[k][(ptrdiff_t)y * f->pitch_bytes[k] + x];
    }
    return LPO_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[32];
    int fd = memfd_create("video", 0);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    lpo_video_limits limits = {256, 256, 256 * 256, 64, 60};
    lpo_video *v = NULL;
    lpo_error err = {.msg = ""};
    uint32_t sum = 0;
    if (lpo_video_open(&v, path, &limits, 1, &err)) {
        if (v || !err.msg[0]) abort();
    } else {
        int64_t last = lpo_video_get_info(v)->n_frames - 1, want[3] = {0, last / 2, last};
        if (last < 0 || last >= 64) abort();
        lpo_status s = lpo_video_read(v, want, 3, touch, &sum, &err);
        if (s && !err.msg[0]) abort();
    }
    lpo_video_close(v);
    close(fd);
    return 0;
}
