/* SPDX-License-Identifier: Apache-2.0 */
/* hls_stream.h -- hls::stream for running HLS C++ kernels on a computer.
 * Ordinarily DATAFLOW processes run one after the other, so a stream holds all that a process writes, and a
 * read from an empty one, the deadlock the hardware would have, aborts with the stream's name. Built with
 * `leanpo xclbin build --bounded-fifo` streams have their depth and processes run at once (hls_fifo.h). */
#ifndef LEANPO_HLS_STREAM_H
#define LEANPO_HLS_STREAM_H
#ifndef __cplusplus
#error "hls_stream.h is C++; in C kernels use arrays"
#endif
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <deque>
#ifdef LEANPO_BOUNDED_FIFO
#include "hls_fifo.h"
#endif

namespace hls {

template <typename T, int Depth = 0> class stream;

#ifdef LEANPO_BOUNDED_FIFO
template <typename T> class stream<T, 0> : public leanpo::fifo {
  public:
    stream() {}
    explicit stream(const char *label) { name = label; }
    stream(const stream &) = delete;
    stream &operator=(const stream &) = delete;

    void write(const T &v) {
        while (queue_.size() >= depth) leanpo::wait_on(leanpo::ROOM, this);
        put(v);
    }
    bool write_nb(const T &v) {
        if (full()) return false;
        put(v);
        return true;
    }
    T read() {
        while (queue_.empty()) leanpo::wait_on(leanpo::DATA, this);
        return take();
    }
    bool read_nb(T &v) {
        if (empty()) return false;
        v = take();
        return true;
    }
    bool empty() const {
        if (queue_.empty()) leanpo::let_others_run();
        return queue_.empty();
    }
    bool full() const {
        if (queue_.size() >= depth) leanpo::let_others_run();
        return queue_.size() >= depth;
    }
    std::size_t size() const {
        leanpo::let_others_run();
        return queue_.size();
    }

  private:
    void put(const T &v) {
        queue_.push_back(v);
        leanpo::wake(this);
    }
    T take() {
        T v = queue_.front();
        queue_.pop_front();
        leanpo::wake(this);
        return v;
    }
#else
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
    bool read_nb(T &v) {
        if (queue_.empty()) return false;
        v = read();
        return true;
    }
    bool empty() const { return queue_.empty(); }
    bool full() const { return false; }
    std::size_t size() const { return queue_.size(); }

  private:
    const char *name_;
#endif
    std::deque<T> queue_;

  public:
    void read(T &v) {
        v = read();
    }
    stream &operator<<(const T &v) {
        return write(v), *this;
    }
    stream &operator>>(T &v) {
        return read(v), *this;
    }
};

template <typename T, int Depth> class stream : public stream<T, 0> {
  public:
    stream() { set_depth(); }
    explicit stream(const char *name) : stream<T, 0>(name) { set_depth(); }

  private:
    void set_depth() {
#ifdef LEANPO_BOUNDED_FIFO
        this->depth = Depth;
#endif
    }
};

} // namespace hls
#endif
