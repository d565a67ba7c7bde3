#include "cli/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
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

enum { BEFORE = sizeof before / sizeof *before, WORDS_BEFORE = BEFORE + 4 /* mpirun -n N .. PROGRAM */, NO_MPIRUN = 127 };

/* The words of this process behind its name, and NULL; *text holds them. NULL after error_set(). */
static char **own_words(char **text)
{
    size_t room = 0, count = 0, capacity = 0;
    char **words = NULL, *at;
    FILE *file = fopen("/proc/self/cmdline", "re");
    ssize_t size = file ? getdelim(text, &room, EOF, file) : -1;
    if (file)
        fclose(file);
    if (size <= 0) {
        error_set("the words of this command cannot be read from /proc/self/cmdline: %s", strerror(errno));
        return NULL;
    }
    for (at = *text + strlen(*text) + 1; at < *text + size; at += strlen(at) + 1) {
        if (!memory_grow((void **)&words, count + 1, &capacity, sizeof *words)) {
            memory_free(words);
            return NULL;
        }
        words[count++] = at;
    }
    if (words)
        words[count] = NULL;
    return words;
}

/* In the child; returns only when there is no mpirun. */
static void become_mpirun(char **argv, const sigset_t *mask, pid_t parent)
{
    int nothing = open("/dev/null", O_RDONLY);
    if (nothing >= 0)
        dup2(nothing, STDIN_FILENO);
    setpgid(0, 0); /* a terminal's signals go to the parent alone */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(EXIT_FAILED);
    if (geteuid() == 0) { /* mpirun wants to be told twice; who runs this as root has decided */
        setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
        setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
    }
    /* mpirun gives ranks a terminal of its own making, whatever this one writes to. */
    if (!isatty(STDOUT_FILENO))
        setenv("TERM", "dumb", 1);
    sigprocmask(SIG_SETMASK, mask, NULL);
    execvp(argv[0], argv);
}

/* Until the child ends; its status. *first: the first signal that was handed on, 0: none. */
static int wait_and_hand_on(pid_t child, const sigset_t *signals, int *first)
{
    int status;
    *first = 0;
    while (waitpid(child, &status, WNOHANG) != child) {
        int number = sigwaitinfo(signals, NULL);
        if (number == SIGCHLD || number < 0 || (number == SIGHUP && *first))
            continue;
        kill(child, *first ? SIGTERM : number == SIGINT ? LAUNCH_INTERRUPT : LAUNCH_TERMINATE);
        *first = *first ? *first : number;
    }
    return status;
}

/* What the child's end means. first: as above. */
static int judge(int status, int first)
{
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (code == NO_MPIRUN) {
        error_set("mpirun cannot be started: install openmpi-bin, which run.devices needs");
        return cli_failed();
    }
    if (code == EXIT_DONE || code == EXIT_FAILED || code == EXIT_USAGE || code == EXIT_INTERRUPTED || code == EXIT_TERMINATED)
        return code;
    if (first) /* it came before there was anything to save, or twice */
        return first == SIGINT ? EXIT_INTERRUPTED : EXIT_TERMINATED;
    if (code > 128)
        error_set("a process of the run was ended by signal %d, and with it the others; what the run has saved stands: "
                  "--resume goes on from there",
                  code - 128);
    else
        error_set(
            "the processes of the run were ended (mpirun: %d); what the run has saved stands: --resume goes on from there",
            code);
    return cli_failed();
}

int launch_ranks(int count)
{
    char number[16], program[4096], *text = NULL, **words = NULL, **argv = NULL;
    int code = EXIT_FAILED, status, first;
    if (!ranks_are_built()) {
        ranks_open(); /* says so */
        return cli_failed();
    }
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length < 0)
        error_set("this program's file cannot be found: %s", strerror(errno));
    else
        words = own_words(&text);
    size_t own = 0;
    while (words && words[own])
        own++;
    argv = words ? memory_new(own + WORDS_BEFORE + 1, sizeof *argv) : NULL;
    if (!argv) {
        cli_failed();
        goto done;
    }
    program[length] = 0;
    snprintf(number, sizeof number, "%d", count);
    argv[0] = "mpirun";
    argv[1] = "-n";
    argv[2] = number;
    memcpy(argv + 3, before, sizeof before);
    argv[3 + BEFORE] = program;
    memcpy(argv + WORDS_BEFORE, words, own * sizeof *argv);
    sigset_t signals, mask;
    struct sigaction hangup;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGCHLD);
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN) /* nohup has it ignored */
        sigaddset(&signals, SIGHUP);
    fflush(NULL);
    sigprocmask(SIG_BLOCK, &signals, &mask);
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
        become_mpirun(argv, &mask, parent);
        _exit(NO_MPIRUN);
    }
    if (child < 0) {
        error_set("no process can be started: %s", strerror(errno));
        code = cli_failed();
    } else {
        status = wait_and_hand_on(child, &signals, &first);
        code = judge(status, first);
    }
    sigprocmask(SIG_SETMASK, &mask, NULL);
done:
    memory_free(argv);
    memory_free(words);
    free(text);
    return code;
}

void launch_ignore_signals(void)
{
    signal(LAUNCH_INTERRUPT, SIG_IGN);
    signal(LAUNCH_TERMINATE, SIG_IGN);
}
