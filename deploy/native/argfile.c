/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded into tritonserver (LD_PRELOAD), runs before its main():
 *
 *   @args:/path   an argument of this form is replaced by the lines of the file, one argument a line.
 *                 tritonserver takes secrets on its command line only; the kernel keeps showing the
 *                 original one in /proc/PID/cmdline, so a secret in the file is never shown. The file must
 *                 be a plain file of this user that nobody else may read.
 *   LD_PRELOAD    is removed from the environment, so that children do not load this library.
 *   SIGHTLINE_PARENT_PID
 *                 names the supervisor: the process gets SIGTERM when the thread that spawned it ends, and
 *                 ends at once where the supervisor is already gone. Removed from the environment as well.
 *   fchmod()      grants nothing to others: the Python backend opens its shared-memory regions, which hold
 *                 people's pictures, to every user of the machine.
 *   SIGHTLINE_TEMPORARY_LIST
 *                 names a file to which the path of each folder made by mkdtemp() is added, one a line: a server
 *                 that is killed leaves its /tmp/python_env_* behind. Removed from the environment as well.
 *
 * Any failure ends the process with status 125 and one line on standard error.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAX_FILE_BYTES = 65536, FAILURE_STATUS = 125 };

static const char PREFIX[] = "@args:";

typedef int (*main_fn)(int, char **, char **);
typedef int (*start_fn)(main_fn, int, char **, void (*)(void), void (*)(void), void (*)(void), void *);

/* Declared here because no header does; glibc calls it from every program's _start. */
int __libc_start_main(main_fn program_main, int argc, char **argv, void (*init)(void), void (*fini)(void),
                      void (*rtld_fini)(void), void *stack_end);

static main_fn real_main;
static char *temporary_list;

static void fail(const char *what, const char *path) {
    (void)fprintf(stderr, "sightline argfile: %s %s: %s\n", what, path, strerror(errno));
    _exit(FAILURE_STATUS);
}

/* The file's text, ended by NUL, in memory that lives as long as the process. */
static char *read_private_file(const char *path) {
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (descriptor < 0) {
        fail("cannot open", path);
    }
    struct stat info;
    if (fstat(descriptor, &info) != 0) {
        fail("cannot examine", path);
    }
    if (!S_ISREG(info.st_mode) || info.st_uid != geteuid() || (info.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        errno = EPERM;
        fail("others may read", path);
    }
    char *const text = malloc((size_t)MAX_FILE_BYTES + 1U);
    if (text == NULL) {
        fail("no memory for", path);
    }
    size_t used = 0;
    for (;;) {
        const ssize_t count = read(descriptor, text + used, (size_t)MAX_FILE_BYTES + 1U - used);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            fail("cannot read", path);
        }
        if (count == 0) {
            break;
        }
        used += (size_t)count;
        if (used > (size_t)MAX_FILE_BYTES) {
            errno = EFBIG;
            fail("too long", path);
        }
    }
    (void)close(descriptor);
    text[used] = '\0';
    return text;
}

/* Appends each line of text to arguments (where it is not NULL); returns how many lines there are. */
static int split_lines(char *text, char **arguments) {
    int count = 0;
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        arguments[count] = line;
        count += 1;
    }
    return count;
}

static int count_newlines(const char *text) {
    int count = 1;
    for (; *text != '\0'; ++text) {
        count += *text == '\n' ? 1 : 0;
    }
    return count;
}

/* A new NULL-ended argument list with every @args: expanded; *argc is set to its length. */
static char **expand(int *argc, char **argv) {
    const size_t prefix_length = sizeof PREFIX - 1U;
    size_t capacity = 1;
    char **const texts = calloc((size_t)*argc + 1U, sizeof *texts);
    if (texts == NULL) {
        fail("no memory for", "arguments");
        return argv;
    }
    for (int i = 0; i < *argc; ++i) {
        if (strncmp(argv[i], PREFIX, prefix_length) == 0) {
            texts[i] = read_private_file(argv[i] + prefix_length);
            capacity += (size_t)count_newlines(texts[i]);
        } else {
            capacity += 1U;
        }
    }
    char **const expanded = calloc(capacity, sizeof *expanded);
    if (expanded == NULL) {
        fail("no memory for", "arguments");
        return argv;
    }
    int count = 0;
    for (int i = 0; i < *argc; ++i) {
        if (texts[i] != NULL) {
            count += split_lines(texts[i], expanded + count);
        } else {
            expanded[count] = argv[i];
            count += 1;
        }
    }
    free(texts);
    *argc = count;
    return expanded;
}

static void die_with_supervisor(void) {
    const char *const supervisor = getenv("SIGHTLINE_PARENT_PID");
    if (supervisor == NULL) {
        return;
    }
    if (prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0) != 0) {
        fail("cannot follow", "the supervisor");
    }
    if (strtol(supervisor, NULL, 10) != (long)getppid()) { /* it ended before prctl */
        errno = ESRCH;
        fail("lost", "the supervisor");
    }
    (void)unsetenv("SIGHTLINE_PARENT_PID");
}

__attribute__((visibility("default"))) int fchmod(int descriptor, mode_t mode) {
    return (int)syscall(SYS_fchmod, descriptor, mode & (mode_t)~(S_IRWXG | S_IRWXO));
}

/* Best effort: a folder that is not listed is only litter. */
static void list_temporary(const char *path) {
    if (temporary_list == NULL) {
        return;
    }
    const int descriptor = open(temporary_list, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
    if (descriptor >= 0) {
        (void)dprintf(descriptor, "%s\n", path);
        (void)close(descriptor);
    }
}

__attribute__((visibility("default"))) char *mkdtemp(char *pattern) {
    typedef char *(*make_fn)(char *);
    make_fn make = NULL;
    void *const found = dlsym(RTLD_NEXT, "mkdtemp");
    if (found == NULL) {
        errno = ENOSYS;
        return NULL;
    }
    memcpy(&make, &found, sizeof make);
    char *const path = make(pattern);
    if (path != NULL) {
        list_temporary(path);
    }
    return path;
}

static void take_temporary_list(void) {
    const char *const path = getenv("SIGHTLINE_TEMPORARY_LIST");
    if (path == NULL) {
        return;
    }
    temporary_list = strdup(path); /* unsetenv may end the life of getenv's answer */
    (void)unsetenv("SIGHTLINE_TEMPORARY_LIST");
}

static int main_with_arguments(int argc, char **argv, char **environment) {
    (void)environment; /* unsetenv below changes the list that `environ` names */
    (void)unsetenv("LD_PRELOAD");
    take_temporary_list();
    die_with_supervisor();
    char **const expanded = expand(&argc, argv);
    return real_main(argc, expanded, environ);
}

__attribute__((visibility("default"))) int __libc_start_main(main_fn program_main, int argc, char **argv,
                                                             void (*init)(void), void (*fini)(void),
                                                             void (*rtld_fini)(void), void *stack_end) {
    start_fn start = NULL;
    void *const found = dlsym(RTLD_NEXT, "__libc_start_main");
    if (found == NULL) {
        errno = ENOSYS;
        fail("no", "__libc_start_main");
    }
    memcpy(&start, &found, sizeof start); /* ISO C has no cast from void * to a function */
    real_main = program_main;
    return start(main_with_arguments, argc, argv, init, fini, rtld_fini, stack_end);
}
