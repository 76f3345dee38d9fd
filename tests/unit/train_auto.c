/* SPDX-License-Identifier: Apache-2.0 */
/* train_auto.c -- `--place auto`: what is chosen, and that a run which measures, falls back, is killed and
 * resumed ends with the bytes of a run that did none of it.
 *
 * The table of drivers is this program's own: "cpu" and "gpu" are both the CPU's driver, so that they compute
 * the same bits, with faults on demand and a delay at each submit that makes either the slower one. */
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "device/cpu/cpu.h"
#include "leanpo/model.h"
#include "leanpo/train.h"
#include "leanpo/world.h"
#include "train/choice.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MUST(call) cr_assert_eq(call, LPO_OK, "%s", err.msg)

/* ---- devices that fail on demand ---- */

static struct faults {
    int cpu_times, gpu_times; /* as slow as it is, at each submit */
    bool gpu_is_cpu, gpu_closed, gpu_cannot;
    size_t gpu_bytes;      /* 0: as many as there are */
    int lose_at;           /* the GPU's submit that fails, and all after it; 0: none */
    const char *lose_when; /* or the first once this file is there */
    int kill_at;           /* submit of either that ends the process, counted from 1, */
    bool kill_after_loss;  /* or of the CPU, counted from the loss */
} faults;
static int n_submits, n_gpu, n_cpu_after_loss;
static size_t gpu_used;
static bool lost;

static int one(void) {
    return 1;
}

/* In proportion, so that no load of the machine and no sanitizer turns the order round. */
static lpo_status slowly(int times, lpo_device *d, const lpo_step *s, lpo_error *e) {
    const double begin = lpo_now_s();
    lpo_status st = lpo_driver_cpu.submit(d, s, e);
    if (times > 1) usleep((unsigned)(1e6 * (times - 1) * (lpo_now_s() - begin)));
    return st;
}

static lpo_status cpu_submit(lpo_device *d, const lpo_step *s, lpo_error *err) {
    n_submits++;
    if (lost) n_cpu_after_loss++;
    if (faults.kill_at && (faults.kill_after_loss ? n_cpu_after_loss : n_submits) == faults.kill_at)
        raise(SIGKILL);
    return slowly(faults.cpu_times, d, s, err);
}

static lpo_status gpu_submit(lpo_device *d, const lpo_step *s, lpo_error *err) {
    n_gpu++;
    n_submits++;
    if (faults.kill_at && !faults.kill_after_loss && n_submits == faults.kill_at) raise(SIGKILL);
    lost |= faults.lose_at && n_gpu >= faults.lose_at;
    lost |= faults.lose_when && lpo_path_exists(faults.lose_when);
    if (lost) return lpo_fail(err, LPO_EDEVICE, "gpu: it fell off the bus");
    return slowly(faults.gpu_times, d, s, err);
}

static lpo_status gpu_alloc(lpo_buffer **out, lpo_device *d, size_t size_bytes, lpo_error *err) {
    *out = NULL;
    if (faults.gpu_bytes && gpu_used + size_bytes > faults.gpu_bytes)
        return lpo_fail(err, LPO_ENOMEM, "gpu: %zu bytes more wanted, %zu in use", size_bytes, gpu_used);
    gpu_used += size_bytes;
    return lpo_driver_cpu.alloc(out, d, size_bytes, err);
}

static void gpu_release(lpo_buffer *b) {
    if (b) gpu_used -= lpo_buffer_bytes(b);
    lpo_driver_cpu.release(b);
}

static void gpu_info(lpo_device_info *out, lpo_device *d) {
    lpo_driver_cpu.info(out, d);
    out->is_cpu = faults.gpu_is_cpu;
}

static bool gpu_supports(lpo_device *d, const lpo_step *s) {
    return !(faults.gpu_cannot && s->op == LPO_OP_ADAMW) && lpo_driver_cpu.supports(d, s);
}

static lpo_status cpu_open(lpo_device **out, int index, lpo_error *err);
static lpo_status gpu_open(lpo_device **out, int index, lpo_error *err);
static const char *const nodes[] = {"/dev/no such node", "/dev/nul?", NULL};
static lpo_driver cpu_driver, gpu_driver;
const lpo_driver *const lpo_drivers[] = {&cpu_driver, &gpu_driver, NULL};

static lpo_status cpu_open(lpo_device **out, int index, lpo_error *err) {
    lpo_status s = lpo_driver_cpu.open(out, index, err);
    if (!s) ((lpo_device_head *)*out)->driver = &cpu_driver;
    return s;
}

static lpo_status gpu_open(lpo_device **out, int index, lpo_error *err) {
    if (faults.gpu_closed) return lpo_fail(err, LPO_EDEVICE, "gpu: it does not open");
    lpo_status s = lpo_driver_cpu.open(out, index, err);
    if (!s) ((lpo_device_head *)*out)->driver = &gpu_driver;
    return s;
}

static void drivers_make(void) {
    cpu_driver = gpu_driver = lpo_driver_cpu;
    cpu_driver.open = cpu_open;
    cpu_driver.submit = cpu_submit;
    gpu_driver.name = "gpu";
    gpu_driver.nodes = nodes;
    gpu_driver.count = one;
    gpu_driver.open = gpu_open;
    gpu_driver.submit = gpu_submit;
    gpu_driver.alloc = gpu_alloc;
    gpu_driver.release = gpu_release;
    gpu_driver.info = gpu_info;
    gpu_driver.supports = gpu_supports;
}

/* ---- a small run, in a process of its own: it may be killed ---- */

enum { STEPS = 4 };
static char dir[64];
static const char *objective = "leanpo";
static lpo_error err;

static char *in(const char *name) {
    static char path[8][256];
    static int k;
    snprintf(path[++k % 8], sizeof path[0], "%s/%s", dir, name);
    return path[k % 8];
}

static void write_pairs(void) {
    char line[1024];
    FILE *from = fopen(in("qa.train.jsonl"), "r"), *to = fopen(in("pairs.jsonl"), "w");
    for (int n = 0; n < 6 && fgets(line, sizeof line, from); n++) {
        json_t *o = json_loads(line, 0, NULL);
        json_object_set(o, "prompt", json_object_get(o, "question"));
        json_object_set(o, "chosen", json_object_get(o, "answer"));
        json_object_set_new(o, "rejected", json_string("it is not known"));
        json_object_del(o, "question");
        json_dumpf(o, to, 0);
        fputc('\n', to);
        json_decref(o);
    }
    fclose(from);
    fclose(to);
}

/* Runs f in a child, so that this process never starts the threads which a fork would lose. Its exit status,
 * or -signal. */
static int in_child(void (*f)(void *), void *arg) {
    int status;
    fflush(NULL);
    pid_t pid = fork();
    if (!pid) {
        f(arg);
        fflush(NULL);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void make_material(void *unused) {
    (void)unused;
    lpo_world_options w = lpo_world_options_default();
    w.n_videos = 2;
    w.size_px = 56;
    w.seed = 5;
    w.heldout = 0;
    static const char small_clips[] = "{\"min_pixels\": 3136, \"max_pixels\": 3136}";
    lpo_init_options o = {.family = "qwen2_vl",
                          .size = "tiny",
                          .tokenizer = in("tokenizer.json"),
                          .config = "{\"num_hidden_layers\":1,\"intermediate_size\":64}",
                          .seed = 1};
    if (lpo_world_write(dir, &w, &err) || lpo_model_init(in("model"), &o, &err)) {
        fprintf(stderr, "%s\n", err.msg);
        _exit(1);
    }
    write_pairs();
    /* A quarter of the patches that clips have by default. */
    lpo_file_write(in("model/video_preprocessor_config.json"), small_clips, strlen(small_clips), NULL);
}

static void set_up(void) {
    strcpy(dir, "/tmp/leanpo-auto-XXXXXX");
    cr_assert(mkdtemp(dir));
    drivers_make();
    cr_assert_eq(in_child(make_material, NULL), 0);
}

static void tear_down(void) {
    lpo_dir_remove(dir, NULL);
}

TestSuite(train_auto, .init = set_up, .fini = tear_down);

typedef struct go {
    const char *run, *place;
    bool resume;
    int steps;
} go;

/* What a go said is in RUN.log: the log, and the error. */
static void on_log(void *file, lpo_log_level level, const char *line) {
    (void)level;
    fprintf(file, "%s\n", line);
    fflush(file);
}

static void train_child(void *arg) {
    const go *g = arg;
    char name[64], steps[16];
    lpo_train_result r;
    snprintf(name, sizeof name, "%s.log", g->run);
    FILE *log = fopen(in(name), "w");
    lpo_log_set(on_log, log);
    lpo_train_options *o = lpo_train_options_create();
    snprintf(steps, sizeof steps, "%d", g->steps);
    const char *const options[][2] = {
        {"objective", objective},
        {"model", in("model")},
        {"data", in("pairs.jsonl")},
        {"out", in(g->run)},
        {"place", g->place},
        {"max_steps", steps},
        {"save_steps", "2"},
        {"learning_rate", "1e-3"},
        {"batch_size", "1"},
        {"accumulation", "2"},
        {"n_threads", "1"},
        {"displacement_size", "0"},
        {"resume", g->resume ? "1" : "0"},
        {"lr_scheduler_type", "constant"},
        {"warmup_ratio", "0"},
    };
    lpo_status s = LPO_OK;
    for (size_t i = 0; i < sizeof options / sizeof *options && !s; i++)
        if (options[i][1]) s = lpo_train_options_set(o, options[i][0], options[i][1], &err);
    if (!s) s = lpo_train(&r, o, NULL, NULL, NULL, &err);
    if (s)
        fprintf(log, "error: %s\n", err.msg);
    else
        fprintf(log, "fallbacks %d, gpu did %s\n", (int)r.fallbacks, n_gpu ? "something" : "nothing");
    fclose(log);
    _exit(-s);
}

static int start(const char *run, const char *place, int steps) {
    return in_child(train_child, &(go){run, place, false, steps});
}

/* place: NULL for what the run has. */
static int resume(const char *run, const char *place) {
    return in_child(train_child, &(go){run, place, true, STEPS});
}

static char *text_of(const char *name) {
    char *text;
    size_t n;
    MUST(lpo_file_read(&text, &n, in(name), 1 << 26, &err));
    return text;
}

static void expect_said(const char *run, const char *words) {
    char name[64];
    snprintf(name, sizeof name, "%s.log", run);
    char *log = text_of(name);
    cr_expect(strstr(log, words), "%s does not say \"%s\":\n%s", name, words, log);
    free(log);
}

static void expect_same_bytes(const char *a, const char *b) {
    static const char *const files[] = {"metrics.jsonl", "checkpoints/step-4/model.safetensors",
                                        "checkpoints/step-4/optimizer.safetensors"};
    for (int i = 0; i < 3; i++) {
        char name[2][128], *bytes[2];
        size_t n[2];
        for (int k = 0; k < 2; k++) {
            snprintf(name[k], sizeof name[k], "%s/%s", k ? b : a, files[i]);
            MUST(lpo_file_read(&bytes[k], &n[k], in(name[k]), 1 << 26, &err));
        }
        cr_expect(n[0] == n[1] && !memcmp(bytes[0], bytes[1], n[0]), "%s and %s differ", name[0], name[1]);
        free(bytes[0]);
        free(bytes[1]);
    }
}

/* A member of run.placement in config.json. */
static void expect_placement(const char *run, const char *backbone, int fallbacks, const char *reason) {
    char name[64];
    json_t *o;
    snprintf(name, sizeof name, "%s/config.json", run);
    MUST(lpo_json_load(&o, in(name), 1 << 20, &err));
    const json_t *p = json_object_get(json_object_get(o, "run"), "placement");
    const char *why = json_string_value(json_object_get(p, "reason"));
    cr_expect_str_eq(json_string_value(json_object_get(p, "backbone")), backbone);
    cr_expect_eq(json_integer_value(json_object_get(p, "fallbacks")), fallbacks);
    cr_expect(strstr(why, reason), "\"%s\" does not say \"%s\"", why, reason);
    json_decref(o);
}

/* ---- the rule ---- */

static lpo_choice made(double cpu_s, const char *cpu_why, bool unfinished, double gpu_s, const char *gpu_why,
                       double other_s) {
    lpo_choice c = {.automatic = true, .pending = true, .n = other_s > 0 ? 3 : 2};
    c.trial[0] = (lpo_trial){.device = "cpu", .seconds = cpu_s, .unfinished = unfinished};
    c.trial[1] = (lpo_trial){.device = "gpu", .seconds = gpu_s};
    c.trial[2] = (lpo_trial){.device = "gpu:1", .seconds = other_s};
    strcpy(c.trial[0].why, cpu_why);
    strcpy(c.trial[1].why, gpu_why);
    lpo_choice_make(&c);
    return c;
}

static void expect_choice(lpo_choice c, const char *device, const char *words) {
    cr_expect_str_eq(c.device, device, "%s: %s", c.device, c.reason);
    cr_expect(strstr(c.reason, words), "\"%s\" does not say \"%s\"", c.reason, words);
    cr_expect_not(c.pending);
}

/* The CPU stays unless another takes a sixth less; of several the fastest counts; who cannot do the run is
 * none to take, and said; when nobody can, it is the CPU, whose own error is then the user's. */
Test(train_rule, choice) {
    expect_choice(made(1.21, "", false, 1, "", 0), "gpu", "1 s on gpu, 1.21 s on cpu");
    expect_choice(made(1.19, "", false, 1, "", 0), "cpu", "it stays unless another is 1.2 times as fast");
    expect_choice(made(1, "", false, 3, "", 0), "cpu", "3 s on gpu, 1 s on cpu");
    expect_choice(made(9, "", true, 1, "", 0), "gpu", "over 9 s on cpu");
    expect_choice(made(9, "", false, 2, "", 1), "gpu:1", "1 s on gpu:1");
    expect_choice(made(9, "", false, 2, "no memory", 3), "gpu:1", "gpu cannot: no memory");
    expect_choice(made(1, "", false, 0, "no memory", 0), "cpu", "gpu cannot: no memory");
    expect_choice(made(0, "no room", false, 5, "", 0), "gpu", "cpu cannot: no room");
    expect_choice(made(0, "no room", false, 0, "no memory", 0), "cpu", "cpu cannot: no room; gpu cannot");
}

/* config.json gives back what it was given. */
Test(train_rule, remembered) {
    lpo_choice c = made(9, "", true, 1, "", 0), back;
    lpo_place p;
    MUST(lpo_place_parse(&p, "decode=cpu,preprocess=csim,reduce=cpu", &err));
    strcpy(p.device[LPO_STAGE_backbone], c.device);
    c.fallbacks = 2;
    json_t *o = lpo_choice_to_json(&c, &p);
    cr_assert(o && lpo_choice_from_json(&back, o));
    cr_expect_str_eq(json_string_value(json_object_get(o, "preprocess")), "csim");
    cr_expect_str_eq(back.device, "gpu");
    cr_expect_str_eq(back.reason, c.reason);
    cr_expect(back.automatic && !back.pending && back.fallbacks == 2 && back.n == 2);
    cr_expect(back.trial[0].unfinished && back.trial[0].seconds == 9);
    json_object_set_new(o, "auto", json_false());
    cr_expect_not(lpo_choice_from_json(&back, o), "a user's place is no choice of ours");
    cr_expect_not(lpo_choice_from_json(&back, NULL));
    json_decref(o);
}

/* ---- measuring ---- */

/* The clearly faster device gets the backbone; measured or not, the run's bytes are the same. */
Test(train_auto, faster_device_is_taken) {
    cr_assert_eq(start("plain", "cpu", STEPS), 0);
    faults.cpu_times = 4;
    cr_assert_eq(start("run", "auto", STEPS), 0);
    expect_said(
        "run",
        "placement: backbone on gpu (auto moves no other stage): forward and backward of a micro-batch take");
    expect_said("run", "fallbacks 0, gpu did something");
    expect_placement("run", "gpu", 0, "s on cpu");
    expect_placement("plain", "cpu", 0, "");
    expect_same_bytes("plain", "run");
}

/* A CPU that is out of all proportion is not waited for. */
Test(train_auto, hopeless_cpu) {
    faults.cpu_times = 1000;
    cr_assert_eq(start("run", "auto", 1), 0);
    expect_placement("run", "gpu", 0, " s on gpu, over ");
}

/* A slower one does not; nor one that lacks memory, an op, or does not open: the reason says so. */
Test(train_auto, others_are_not) {
    static const struct {
        struct faults f;
        const char *says;
    } cases[] = {
        {{.gpu_times = 4}, "it stays unless another is"},
        {{.cpu_times = 4, .gpu_bytes = 1 << 20}, "gpu cannot: parameter"},
        {{.cpu_times = 4, .gpu_bytes = 4 << 20}, "bytes more wanted"},
        {{.cpu_times = 4, .gpu_closed = true}, "gpu cannot: gpu: it does not open"},
        {{.cpu_times = 4, .gpu_is_cpu = true}, "no driver offers a GPU; gpu is this processor itself"},
        {{.cpu_times = 4, .lose_at = 60}, "it fell off the bus"},
    };
    cr_assert_eq(start("plain", "cpu", STEPS), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char run[16];
        snprintf(run, sizeof run, "run%zu", i);
        faults = cases[i].f;
        cr_assert_eq(start(run, "auto", STEPS), 0, "case %zu", i);
        expect_placement(run, "cpu", 0, cases[i].says);
        expect_same_bytes("plain", run);
    }
}

/* A device without the optimizer's op may compute the passes, but cannot train. */
Test(train_auto, unsupported_op) {
    faults = (struct faults){.cpu_times = 4, .gpu_cannot = true};
    cr_assert_eq(start("run", "auto", STEPS), 0);
    expect_placement("run", "cpu", 0, "gpu cannot");
}

/* Whatever is faster by then, a resumed run stays where it was, and says so. */
Test(train_auto, resume_keeps_the_choice) {
    faults.cpu_times = 4;
    cr_assert_eq(start("run", "auto", 2), 0);
    faults = (struct faults){.gpu_times = 4};
    cr_assert_eq(resume("run", NULL), 0);
    expect_said("run",
                "placement: backbone on gpu (auto moves no other stage), as before: forward and backward");
    expect_placement("run", "gpu", 0, "s on cpu");
}

/* ---- falling back ---- */

/* A device that we chose and that is lost leaves the run to the CPU: from the last checkpoint, or from the
 * start; with one warning, counted; nothing is lost. Resumed later, the run stays there. */
Test(train_auto, lost_device) {
    static const char *const when[] = {"run0/config.json", "run1/checkpoints/step-2"};
    static const char *const from[] = {"the run goes on on the cpu, from the beginning",
                                       "run1/checkpoints/step-2"};
    cr_assert_eq(start("plain", "cpu", STEPS), 0);
    for (int i = 0; i < 2; i++) {
        char run[16];
        snprintf(run, sizeof run, "run%d", i);
        faults = (struct faults){.cpu_times = 4, .lose_when = in(when[i])};
        cr_assert_eq(start(run, "auto", STEPS - 1), 0);
        expect_said(run, "gpu was given up: ");
        expect_said(run, "gpu: it fell off the bus");
        expect_said(run, from[i]);
        expect_said(run, "fallbacks 1,");
        expect_placement(run, "cpu", 1, "gpu was given up");
        faults = (struct faults){.cpu_times = 4};
        cr_assert_eq(resume(run, NULL), 0);
        expect_said(run, ", as before: gpu was given up");
        expect_said(run, "fallbacks 1, gpu did nothing");
    }
    cr_assert_eq(start("plain3", "cpu", STEPS - 1), 0);
    cr_assert_eq(resume("plain3", NULL), 0);
    expect_same_bytes("plain3", "run0");
    expect_same_bytes("plain3", "run1");
}

/* Lost between its choice and the first step, when the folder holds no run yet, only the reference that the
 * device computed. */
Test(train_auto, lost_before_the_first_step) {
    objective = "dpo";
    cr_assert_eq(start("plain", "cpu", STEPS), 0);
    faults = (struct faults){.cpu_times = 4, .lose_when = in("run/ref_logps.safetensors")};
    cr_assert_eq(start("run", "auto", STEPS), 0);
    expect_said("run", "the run goes on on the cpu, from the beginning");
    expect_placement("run", "cpu", 1, "gpu was given up");
    expect_same_bytes("plain", "run");
}

/* A chosen device that is gone when the run is resumed: the same. */
Test(train_auto, gone_device) {
    faults.cpu_times = 4;
    cr_assert_eq(start("run", "auto", 2), 0);
    faults.gpu_closed = true;
    cr_assert_eq(resume("run", NULL), 0);
    expect_said("run", "gpu was given up: gpu: it does not open; the run goes on on the cpu");
    expect_placement("run", "cpu", 1, "does not open");
}

/* The device that the user named is the user's to replace: an error with the way on, the last checkpoint
 * whole, and on the CPU the run arrives where it would have. */
Test(train_auto, named_device) {
    cr_assert_eq(start("plain", "cpu", STEPS), 0);
    faults = (struct faults){.lose_when = in("run/checkpoints/step-2")};
    cr_assert_eq(start("run", "backbone=gpu", STEPS), -LPO_EDEVICE);
    expect_said("run", "error: step 3, backbone on gpu; the last checkpoint is whole: ");
    expect_said("run", "on gpu again or with --place backbone=cpu: ");
    cr_assert_eq(resume("run", "backbone=cpu"), 0);
    expect_said("run", "place was backbone=gpu and is now backbone=cpu");
    expect_same_bytes("plain", "run");
}

/* ---- SIGKILL ---- */

/* Killed while measuring, while training, and while falling back, and resumed: the bytes of the plain run. */
Test(train_auto, killed) {
    cr_assert_eq(start("plain", "cpu", STEPS), 0);
    static const struct {
        int at;
        bool after_loss;
    } kill[] = {{30, false}, {900, false}, {1, true}, {200, true}};
    for (size_t i = 0; i < sizeof kill / sizeof *kill; i++) {
        char run[16], when[64];
        snprintf(run, sizeof run, "run%zu", i);
        snprintf(when, sizeof when, "%s/checkpoints/step-2", run);
        faults = (struct faults){.cpu_times = 4,
                                 .lose_when = in(when),
                                 .kill_at = kill[i].at,
                                 .kill_after_loss = kill[i].after_loss};
        cr_assert_eq(start(run, "auto", STEPS), -SIGKILL, "case %zu", i);
        faults.kill_at = 0;
        cr_assert_eq(resume(run, "auto"), 0, "case %zu", i);
        expect_same_bytes("plain", run);
    }
}
