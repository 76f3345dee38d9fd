/* SPDX-License-Identifier: Apache-2.0 */
/* hls_fifo.h -- hls::stream as the bounded FIFO it is in hardware, and DATAFLOW processes that run at once:
 * what `leanpo xclbin build --bounded-fifo` puts behind hls_stream.h.
 * A process is a thread of control with its own stack, of which one runs at a time: until it waits for a
 * FIFO, polls one or ends. So a run is the same every time, nothing races, and a deadlock is known, not
 * guessed: processes are left and none of them can go on. It is told on stderr and ends the run in ABORT. */
#ifndef LEANPO_HLS_FIFO_H
#define LEANPO_HLS_FIFO_H
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <sys/mman.h>
#include <type_traits>
#include <ucontext.h>
#include <utility>
#include <vector>

namespace leanpo {

class region;

struct fifo {
    const char *name = nullptr;
    int index = -1; /* in an array of streams */
    std::size_t depth = 2;
    mutable int waiting = 0; /* processes */
};

enum wait_for { NOTHING, ROOM, DATA, REGION };

struct process {
    const char *name;
    std::function<void()> body;
    region *owner;
    wait_for waits;
    const fifo *on;
    const region *inside; /* the nested region it waits for */
    bool started, done;
    void *stack;
    ucontext_t context;
};

/* The processes of one kernel run. */
struct board {
    static const std::size_t STACK = std::size_t(64) << 20;
    std::vector<process *> all;
    process *running = nullptr;
    ucontext_t scheduler;

    static board *&mine() {
        static thread_local board *b = nullptr;
        return b;
    }
    static void enter() {
        process *p = mine()->running;
        p->body();
        p->done = true;
        swapcontext(&p->context, &mine()->scheduler);
    }
    void begin(process *p) {
        p->stack =
            mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p->stack == MAP_FAILED || mprotect(p->stack, 4096, PROT_NONE)) {
            std::fprintf(stderr, "DATAFLOW process %s: no memory for its stack\n", p->name);
            std::abort();
        }
        getcontext(&p->context);
        p->context.uc_stack.ss_sp = p->stack;
        p->context.uc_stack.ss_size = STACK;
        p->context.uc_link = nullptr;
        makecontext(&p->context, enter, 0);
        p->started = true;
    }
    void resume(process *p) {
        running = p;
        if (!p->started) begin(p);
        swapcontext(&scheduler, &p->context);
        running = nullptr;
        if (p->done) ended(p);
    }
    void ended(process *p) {
        munmap(p->stack, STACK);
        bool last = true;
        for (const process *q : all) last = last && (q->done || q->owner != p->owner);
        for (process *q : all)
            if (last && q->waits == REGION && q->inside == p->owner) q->waits = NOTHING;
    }
    /* Gives the processor away; comes back when waits is NOTHING again, which it may be already. */
    void wait(wait_for what, const fifo *on, const region *inside = nullptr) {
        process *p = running;
        p->waits = what;
        p->on = on;
        p->inside = inside;
        if (what == ROOM || what == DATA) on->waiting++;
        swapcontext(&p->context, &scheduler);
    }
    void wake(const fifo *on) {
        for (process *p : all)
            if (p->on == on && (p->waits == ROOM || p->waits == DATA)) p->waits = NOTHING;
        on->waiting = 0;
    }
    [[noreturn]] void deadlock() const {
        std::fprintf(stderr, "deadlock: every process of the DATAFLOW region waits\n");
        for (const process *p : all) {
            if (p->done || p->waits == REGION) continue;
            char index[16] = "";
            if (p->on->index >= 0) std::snprintf(index, sizeof index, "[%d]", p->on->index);
            std::fprintf(stderr, "  %s: stream %s%s is %s (depth %zu)\n", p->name,
                         p->on->name ? p->on->name : "without a name", index,
                         p->waits == ROOM ? "full" : "empty", p->on->depth);
        }
        std::abort();
    }
    void schedule() {
        for (bool alive = true; alive;) {
            alive = false;
            bool moved = false;
            for (std::size_t i = 0; i < all.size(); i++) { /* a nested region adds processes meanwhile */
                process *p = all[i];
                if (p->done) continue;
                alive = true;
                if (p->waits != NOTHING) continue;
                moved = true;
                resume(p);
            }
            if (alive && !moved) deadlock();
        }
    }
    void remove(const region *owner) {
        std::vector<process *> left;
        for (process *p : all)
            if (p->owner != owner)
                left.push_back(p);
            else
                delete p;
        all.swap(left);
    }
};

/* One execution of a DATAFLOW region. */
class region {
  public:
    template <typename F> void add(const char *name, F body) {
        processes_.push_back(new process{name, std::function<void()>(body), this, NOTHING, nullptr, nullptr,
                                         false, false, nullptr, ucontext_t()});
    }
    void run() {
        board *&mine = board::mine();
        if (!mine) {
            board b;
            mine = &b;
            b.all = processes_;
            b.schedule();
            b.remove(this);
            mine = nullptr;
        } else if (!processes_.empty()) { /* inside a process: it waits until these are done */
            mine->all.insert(mine->all.end(), processes_.begin(), processes_.end());
            mine->wait(REGION, nullptr, this);
            mine->remove(this);
        }
        processes_.clear();
    }

  private:
    std::vector<process *> processes_;
};

/* Waits on a FIFO; outside every process nobody could make it end. */
inline void wait_on(wait_for what, const fifo *on) {
    if (board::mine() && board::mine()->running) return board::mine()->wait(what, on);
    std::fprintf(stderr, "hls::stream %s: %s outside a DATAFLOW region (a deadlock in hardware; depth %zu)\n",
                 on->name ? on->name : "without a name",
                 what == ROOM ? "written while full" : "read while empty", on->depth);
    std::abort();
}

/* After a look at a FIFO that found nothing to do: the others get their turn. */
inline void let_others_run() {
    if (board::mine() && board::mine()->running) board::mine()->wait(NOTHING, nullptr);
}

inline void wake(const fifo *on) {
    if (on->waiting) board::mine()->wake(on);
}

template <typename T> struct is_stream : std::is_base_of<fifo, typename std::remove_all_extents<T>::type> {};

/* How an argument that several processes name reaches each of them. */
template <typename T>
typename std::enable_if<is_stream<T>::value || std::is_function<T>::value ||
                            (std::is_class<T>::value && !std::is_copy_constructible<T>::value),
                        T &>::type
share(T &v) {
    return v;
}
template <typename T>
typename std::enable_if<!is_stream<T>::value && !std::is_function<T>::value &&
                            (!std::is_class<T>::value || std::is_copy_constructible<T>::value),
                        const T &>::type
share(const T &v) {
    static_assert(!std::is_array<T>::value,
                  "--bounded-fifo: an array is the channel of a DATAFLOW region; make it an hls::stream");
    return v;
}

template <typename T>
typename std::enable_if<is_stream<T>::value>::type label(T &v, const char *name, int i = -1) {
    if (v.name) return;
    v.name = name;
    v.index = i;
}
template <typename T, std::size_t N>
typename std::enable_if<is_stream<T>::value>::type label(T (&v)[N], const char *name, int = -1) {
    for (std::size_t i = 0; i < N; i++) label(v[i], name, int(i));
}
template <typename T> typename std::enable_if<!is_stream<T>::value>::type label(const T &, const char *) {}

template <typename T>
typename std::enable_if<is_stream<T>::value>::type set_depth(T &v, std::size_t depth, const char *name) {
    v.depth = depth ? depth : 1;
    label(v, name);
}
template <typename T, std::size_t N>
typename std::enable_if<is_stream<T>::value>::type set_depth(T (&v)[N], std::size_t depth, const char *name) {
    for (std::size_t i = 0; i < N; i++) set_depth(v[i], depth, name);
    label(v, name);
}
template <typename T>
typename std::enable_if<!is_stream<T>::value>::type set_depth(const T &, std::size_t, const char *) {
    static_assert(is_stream<T>::value, "--bounded-fifo: a STREAM pragma on what is not an hls::stream");
}

} // namespace leanpo
#endif
