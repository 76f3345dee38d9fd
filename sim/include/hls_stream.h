/* SPDX-License-Identifier: Apache-2.0 */
/* hls_stream.h -- hls::stream for running HLS C++ kernels on a computer: an unbounded queue.
 * DATAFLOW processes run one after the other here, so a stream must hold all that a process writes; a read
 * from an empty one is the deadlock the hardware would have, and aborts with the stream's name. */
#ifndef LEANPO_HLS_STREAM_H
#define LEANPO_HLS_STREAM_H
#ifndef __cplusplus
#error "hls_stream.h is C++; in C kernels use arrays"
#endif
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <deque>

namespace hls {

template <typename T, int Depth = 0> class stream;

template <typename T> class stream<T, 0> {
  public:
    stream() : name_("unnamed") {}
    explicit stream(const char *name) : name_(name) {}
    stream(const stream &) = delete;
    stream &operator=(const stream &) = delete;

    void write(const T &v) { queue_.push_back(v); }
    bool write_nb(const T &v) { return write(v), true; }
    T read() {
        if (queue_.empty()) {
            std::fprintf(stderr, "hls::stream %s: read from an empty stream (a deadlock in hardware)\n",
                         name_);
            std::abort();
        }
        T v = queue_.front();
        queue_.pop_front();
        return v;
    }
    void read(T &v) { v = read(); }
    bool read_nb(T &v) {
        if (queue_.empty()) return false;
        v = read();
        return true;
    }
    stream &operator<<(const T &v) { return write(v), *this; }
    stream &operator>>(T &v) { return read(v), *this; }
    bool empty() const { return queue_.empty(); }
    bool full() const { return false; }
    std::size_t size() const { return queue_.size(); }

  private:
    const char *name_;
    std::deque<T> queue_;
};

template <typename T, int Depth> class stream : public stream<T, 0> {
  public:
    stream() {}
    explicit stream(const char *name) : stream<T, 0>(name) {}
};

} // namespace hls
#endif
