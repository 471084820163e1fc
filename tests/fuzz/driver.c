/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands in for libFuzzer where the compiler has none: random inputs, mutations of the ones before, no coverage.
 * Understands libFuzzer's -runs=N, -max_total_time=SECONDS, -seed=N, -max_len=BYTES, -timeout=SECONDS,
 * -artifact_prefix=PATH and files to run once; folders are left alone. The input that broke or stalled is kept.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "input.h"

static uint64_t state = 88172645463325252U;
static const char *prefix = "";
static char artifact[4096];
static const uint8_t *current;
static size_t current_bytes;

/* Whatever goes wrong ends in abort(), and so in keep_input(). */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
__attribute__((visibility("default"))) const char *__ubsan_default_options(void);
const char *__asan_default_options(void) { return "abort_on_error=1"; }
const char *__ubsan_default_options(void) { return "abort_on_error=1:print_stacktrace=1"; }

static uint32_t next_random(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32);
}

static void say(const char *text) {
    if (write(STDERR_FILENO, text, strlen(text)) < 0) return;
}

static void keep_input(int signal_number) {
    int file = open(artifact, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    bool kept = file >= 0 && write(file, current, current_bytes) == (ssize_t)current_bytes;
    say(signal_number == SIGALRM ? "\nstalled; " : "\nbroken; ");
    say(kept ? "input kept: " : "input not kept: ");
    say(artifact);
    say("\n");
    _exit(77);
}

static void watch_for_trouble(void) {
    snprintf(artifact, sizeof artifact, "%scrash-%ld-%d", prefix, (long)time(NULL), (int)getpid());
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = keep_input;
    sigaction(SIGABRT, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
}

static const uint32_t strange[] = {0,          1,          0x7F800000, 0xFF800000, 0x7FC00000, 0x3F800000,
                                   0x80000000, 0xFFFFFFFF, 0x7FFFFFFF, 0x00000001, 0x7F7FFFFF, 0x42C80000};

static size_t mutate(uint8_t *bytes, size_t size, size_t most) {
    if (size == 0 || next_random() % 8 == 0) {
        size = next_random() % (most + 1);
        for (size_t i = 0; i < size; i++) bytes[i] = (uint8_t)next_random();
    }
    for (uint32_t changes = next_random() % 16; size >= 4 && changes > 0; changes--) {
        size_t at = next_random() % (size - 3);
        if (next_random() & 1)
            bytes[at] ^= (uint8_t)(1U << next_random() % 8);
        else
            memcpy(bytes + at, &strange[next_random() % 12], 4);
    }
    return size;
}

static int run_one(const uint8_t *bytes, size_t size, unsigned stall_seconds) {
    uint8_t *exact = fuzz_block(size);
    memcpy(exact, bytes, size);
    current = exact;
    current_bytes = size;
    alarm(stall_seconds);
    int status = LLVMFuzzerTestOneInput(exact, size);
    alarm(0);
    free(exact);
    return status;
}

static int run_file(const char *path, unsigned stall_seconds) {
    static uint8_t bytes[1 << 20];
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fprintf(stderr, "%s cannot be read\n", path);
        return 1;
    }
    size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    return run_one(bytes, size, stall_seconds);
}

static bool is_folder(const char *path) {
    struct stat about;
    return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

int main(int argc, char **argv) {
    unsigned long long runs = 0, seconds = 0, most = 4096, done = 0, files = 0, seed = 1;
    unsigned stall = 0;
    for (int i = 1; i < argc; i++) {
        if (sscanf(argv[i], "-runs=%llu", &runs) == 1 || sscanf(argv[i], "-max_total_time=%llu", &seconds) == 1 ||
            sscanf(argv[i], "-seed=%llu", &seed) == 1 || sscanf(argv[i], "-max_len=%llu", &most) == 1 ||
            sscanf(argv[i], "-timeout=%u", &stall) == 1)
            continue;
        if (strncmp(argv[i], "-artifact_prefix=", 17) == 0) prefix = argv[i] + 17;
    }
    watch_for_trouble();
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] == '-' || is_folder(argv[i])) continue;
        files++;
        if (run_file(argv[i], stall) != 0) return 1;
    }
    if (files > 0) return 0;
    if (runs == 0 && seconds == 0) runs = 100000;
    state += seed * 0x9E3779B97F4A7C15U;
    size_t size = 0;
    uint8_t *bytes = fuzz_block(most);
    for (time_t start = time(NULL); runs == 0 || done < runs; done++) {
        if (seconds != 0 && time(NULL) - start >= (time_t)seconds) break;
        size = mutate(bytes, size, most);
        run_one(bytes, size, stall);
    }
    free(bytes);
    fprintf(stderr, "Done %llu runs\nstat::number_of_executed_units: %llu\n", done, done);
    return 0;
}
