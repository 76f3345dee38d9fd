// SPDX-License-Identifier: Apache-2.0
// run_abort.cpp -- xrt::run::abort, which XRT has in C++ only: a hung run ends in ABORT, one queued behind it never runs, the other
// compute unit goes on, and loading again resets the card. Built and started by card_faults.sh.
#include <cstdio>
#include <xrt/xrt_bo.h>
#include <xrt/xrt_device.h>
#include <xrt/xrt_kernel.h>

#define CHECK(x)                                                                                             \
    if (!(x)) return std::fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #x), 1

int main(int, char **argv) {
    xrt::device device(0);
    auto uuid = device.load_xclbin(argv[1]);
    {
        xrt::kernel mood(device, uuid, "mood:{mood_1}"), other(device, uuid, "mood:{mood_2}");
        xrt::run hung(mood), behind(mood), free(other);
        hung.set_arg(0, 4);
        behind.set_arg(0, 2); // would end the card
        free.set_arg(0, 0);
        hung.start();
        behind.start();
        CHECK(behind.abort() == ERT_CMD_STATE_ABORT);
        CHECK(hung.state() == ERT_CMD_STATE_RUNNING && hung.abort() == ERT_CMD_STATE_ABORT);
        free.start();
        CHECK(free.wait(std::chrono::seconds(20)) == ERT_CMD_STATE_COMPLETED);
        free.start();
        CHECK(free.wait(std::chrono::seconds(20)) == ERT_CMD_STATE_COMPLETED && free.abort() == ERT_CMD_STATE_COMPLETED);
    }
    device.load_xclbin(argv[1]);
    xrt::kernel mood(device, uuid, "mood:{mood_1}");
    auto run = mood(0);
    CHECK(run.wait(std::chrono::seconds(20)) == ERT_CMD_STATE_COMPLETED);
    return 0;
}
