#include "cli/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"
#include "cli/cli.h"
#include "device/ranks.h"

/* What stands before the program. Ranks share the processors, also when there are more of them, each with threads on all; they
 * are of one machine, so nothing looks for networks. Copying straight from another process's memory is forbidden in many
 * containers, and Open MPI then complains of every message. */
static const char *const before[] = {"--bind-to",  "none",  "--oversubscribe",
                                     "--quiet",    "--mca", "pml",
                                     "ob1",        "--mca", "btl",
                                     "self,vader", "--mca", "btl_vader_single_copy_mechanism",
                                     "none"};

enum {
    BEFORE = sizeof before / sizeof *before,
    WORDS_BEFORE = BEFORE + 4, /* mpirun -n N .. PROGRAM */
    NO_MPIRUN = 127,
    OWN_CODES = 64 /* added to rank 0's exit code, which mpirun's own are then not taken for */
};

static const char launched[] = "LACUNA_LAUNCHED"; /* in the environment of what is started here */

int launch_exit_code(int code)
{
    return code && getenv(launched) ? OWN_CODES + code : code;
}

/* ---- the command line */

/* The words of this process behind its name, and NULL; `text` holds them. NULL after error_set(). */
static char **own_words(Text *text)
{
    size_t count = 0, capacity = 0;
    char **words = NULL, some[4096];
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t size;
    while (fd >= 0 && (size = read(fd, some, sizeof some)) > 0)
        text_add_bytes(text, some, (size_t)size);
    if (fd >= 0)
        close(fd);
    if (!text->length || text->failed) {
        error_set("the words of this command cannot be read from /proc/self/cmdline");
        return NULL;
    }
    for (char *at = text->data + strlen(text->data) + 1; at < text->data + text->length; at += strlen(at) + 1) {
        if (!strcmp(at, ":"))
            error_set("mpirun takes a word `:` for its own; with several devices no word can be that");
        if (!strcmp(at, ":") || !memory_grow((void **)&words, count + 1, &capacity, sizeof *words)) {
            memory_free(words);
            return NULL;
        }
        words[count++] = at;
    }
    if (words)
        words[count] = NULL;
    return words;
}

/* ---- the child */

typedef struct {
    char **argv;
    int out[2], err[2]; /* pipes from it */
    sigset_t mask;      /* as it was before the launcher */
    pid_t parent;
} Start;

/* Returns only when there is no mpirun. */
static void become_mpirun(const Start *s)
{
    int nothing = open("/dev/null", O_RDONLY);
    bool terminal = isatty(STDOUT_FILENO);
    if (nothing >= 0)
        dup2(nothing, STDIN_FILENO);
    dup2(s->out[1], STDOUT_FILENO);
    dup2(s->err[1], STDERR_FILENO);
    setpgid(0, 0); /* a terminal's signals go to the parent alone */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != s->parent)
        _exit(EXIT_FAILED);
    if (geteuid() == 0) { /* mpirun wants to be told twice; who runs this as root has decided */
        setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
        setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
    }
    setenv(launched, "1", 1);
    /* mpirun gives ranks a terminal of its own making, whatever this one writes to. */
    if (!terminal)
        setenv("TERM", "dumb", 1);
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, &s->mask, NULL);
    execvp(s->argv[0], s->argv);
}

/* ---- the parent */

/* One stream of the child's, handed on. Whoever reads it may go; the training stays. */
typedef struct {
    int from, to;
    int error; /* errno of the write that failed; what comes after is dropped */
} Stream;

/* False at the stream's end. */
static bool hand_on(Stream *s)
{
    char some[8192];
    ssize_t size = read(s->from, some, sizeof some);
    if (size < 0 && errno == EINTR)
        return true;
    for (ssize_t done = 0, n; !s->error && done < size; done += n) {
        n = write(s->to, some + done, (size_t)(size - done));
        if (n < 0 && errno != EINTR)
            s->error = errno;
        n = n < 0 ? 0 : n;
    }
    return size > 0;
}

typedef struct {
    pid_t child;
    int signals; /* a signalfd */
    Stream streams[2];
    int first;  /* signal that was handed on, 0: none */
    int status; /* of the child, once it has ended */
    bool ended;
} Watcher;

static void take_signal(Watcher *w)
{
    struct signalfd_siginfo info;
    if (read(w->signals, &info, sizeof info) != sizeof info)
        return;
    int number = (int)info.ssi_signo;
    if (number == SIGCHLD || (number == SIGHUP && w->first))
        return;
    kill(w->child, w->first ? SIGTERM : number == SIGINT ? LAUNCH_INTERRUPT : LAUNCH_TERMINATE);
    w->first = w->first ? w->first : number;
}

/* Until the child has ended and what it wrote is handed on. A process that outlives it may keep the streams open. */
static void watch(Watcher *w)
{
    enum { LAST_WORDS = 300 /* ms */ };
    bool open = true;
    while (!w->ended || open) {
        struct pollfd polls[] = {{w->signals, POLLIN, 0}, {w->streams[0].from, POLLIN, 0}, {w->streams[1].from, POLLIN, 0}};
        int ready = poll(polls, 3, w->ended ? LAST_WORDS : -1);
        if (ready == 0)
            return;
        if (ready > 0 && polls[0].revents)
            take_signal(w);
        for (int i = 0; ready > 0 && i < 2; i++)
            if (polls[1 + i].revents && !hand_on(&w->streams[i])) {
                close(w->streams[i].from);
                w->streams[i].from = -1; /* poll() passes over it */
            }
        open = w->streams[0].from >= 0 || w->streams[1].from >= 0;
        pid_t who = w->ended ? 0 : waitpid(w->child, &w->status, WNOHANG);
        w->ended = w->ended || who == w->child || (who < 0 && errno != EINTR);
    }
}

/* What the child's end means. */
static int judge(const Watcher *w)
{
    int code = WIFEXITED(w->status) ? WEXITSTATUS(w->status) : -1, own = code - OWN_CODES;
    if (code == EXIT_DONE || own == EXIT_FAILED || own == EXIT_USAGE || own == EXIT_INTERRUPTED || own == EXIT_TERMINATED) {
        int error = w->streams[0].error;
        if (!error)
            return code ? own : code;
        error_set("standard output cannot be written: %s", strerror(error));
        cli_failed();
        return code ? own : EXIT_FAILED;
    }
    if (code == NO_MPIRUN)
        error_set("mpirun cannot be started: install openmpi-bin, which run.devices needs");
    else if (w->first) /* it came before there was anything to save, or twice */
        return w->first == SIGINT ? EXIT_INTERRUPTED : EXIT_TERMINATED;
    else if (code > 128)
        error_set("a process of the run was ended by signal %d, and with it the others; what the run has saved stands: "
                  "--resume goes on from there",
                  code - 128);
    else if (code < 0)
        error_set("mpirun was ended by signal %d, and with it the run; what the run has saved stands: --resume goes on from "
                  "there",
                  WIFSIGNALED(w->status) ? WTERMSIG(w->status) : 0);
    else
        error_set("mpirun could not start or hold the processes of the run (it ended with %d; what it said stands above); what "
                  "the run has saved stands: --resume goes on from there",
                  code);
    return cli_failed();
}

/* The signals that the parent takes in turn with the streams; SIGHUP only where nobody has it ignored, as nohup has. */
static void choose_signals(sigset_t *signals)
{
    struct sigaction hangup;
    sigemptyset(signals);
    sigaddset(signals, SIGINT);
    sigaddset(signals, SIGTERM);
    sigaddset(signals, SIGCHLD);
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
        sigaddset(signals, SIGHUP);
}

static int run_mpirun(char **argv)
{
    Start start = {.argv = argv, .out = {-1, -1}, .err = {-1, -1}, .parent = getpid()};
    sigset_t signals;
    int code = EXIT_FAILED;
    choose_signals(&signals);
    fflush(NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_DFL); /* whoever started this may have it ignored, and then a child's end is not told */
    sigprocmask(SIG_BLOCK, &signals, &start.mask);
    Watcher w = {.child = -1, .signals = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK)};
    if (w.signals >= 0 && pipe2(start.out, O_CLOEXEC) == 0 && pipe2(start.err, O_CLOEXEC) == 0)
        w.child = fork();
    if (w.child == 0) {
        become_mpirun(&start);
        _exit(NO_MPIRUN);
    }
    if (w.child > 0) {
        close(start.out[1]);
        close(start.err[1]);
        w.streams[0] = (Stream){.from = start.out[0], .to = STDOUT_FILENO};
        w.streams[1] = (Stream){.from = start.err[0], .to = STDERR_FILENO};
        watch(&w);
        code = judge(&w);
    } else {
        error_set("no process can be started: %s", strerror(errno));
        code = cli_failed();
    }
    if (w.signals >= 0)
        close(w.signals);
    sigprocmask(SIG_SETMASK, &start.mask, NULL);
    return code;
}

int launch_ranks(int count)
{
    char number[16], program[4096], **words = NULL, **argv = NULL;
    Text text = {0};
    int code = EXIT_FAILED;
    if (!ranks_are_built()) {
        ranks_open(); /* says so */
        return cli_failed();
    }
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (getenv("OMPI_COMM_WORLD_SIZE"))
        error_set(
            "run.devices %d: this is a process of mpirun's already, which starts no others: leave mpirun away, or have it "
            "start %d",
            count, count);
    else if (length < 0)
        error_set("this program's file cannot be found: %s", strerror(errno));
    else
        words = own_words(&text);
    size_t own = 0;
    while (words && words[own])
        own++;
    argv = words ? memory_new(own + WORDS_BEFORE + 1, sizeof *argv) : NULL;
    if (argv) {
        program[length] = 0;
        snprintf(number, sizeof number, "%d", count);
        argv[0] = "mpirun";
        argv[1] = "-n";
        argv[2] = number;
        memcpy(argv + 3, before, sizeof before);
        argv[3 + BEFORE] = program;
        memcpy(argv + WORDS_BEFORE, words, own * sizeof *argv);
        code = run_mpirun(argv);
    } else {
        code = cli_failed();
    }
    memory_free(argv);
    memory_free(words);
    text_free(&text);
    return code;
}

void launch_ignore_signals(void)
{
    static const int numbers[] = {LAUNCH_INTERRUPT, LAUNCH_TERMINATE, SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        signal(numbers[i], SIG_IGN);
}
