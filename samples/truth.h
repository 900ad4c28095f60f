/* SPDX-License-Identifier: MIT */
/*
 * How a sample tells its own truth: JSON lines on the descriptor named by FORKTRACE_TRUTH_FD, nothing if
 * it is unset. A line is one write(2) of a buffer on the stack: no stdio, no malloc, no lock, so it may
 * be told after fork, in a vfork child and in any thread. The lines are described in README.md. Knows
 * nothing of forktrace.
 */
#ifndef TRUTH_H
#define TRUTH_H

#include <errno.h>
#include <limits.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef CLONE_CLEAR_SIGHAND
#define CLONE_CLEAR_SIGHAND 0x100000000ULL
#endif

#define NONE LONG_MIN /* prints as null */

/* A step that can not fail here did: the sample is void, and says so. */
#define must(ok) ((ok) ? (void)0 : truth_void(#ok, __FILE__, __LINE__))

static inline void truth_void(const char *what, const char *file, int line)
{
	dprintf(2, "%s:%d: not as expected: %s (errno %d, %s)\n", file, line, what, errno, strerror(errno));
	_exit(99);
}

static inline int truth_fd(void)
{
	static int fd = -2;

	if (fd == -2) {
		const char *s = getenv("FORKTRACE_TRUTH_FD");

		fd = s ? atoi(s) : -1;
	}
	return fd;
}

/* ---- one line ---- */

struct line {
	size_t n;
	char s[8192];
};

static inline void put(struct line *l, const char *s)
{
	for (; *s; s++) {
		must(l->n < sizeof(l->s));
		l->s[l->n++] = *s;
	}
}

static inline void put_number(struct line *l, long v)
{
	char digits[24], *p = digits + sizeof(digits) - 1;
	unsigned long u = v < 0 ? 0UL - (unsigned long)v : (unsigned long)v;

	*p = 0;
	do
		*--p = '0' + u % 10;
	while (u /= 10);
	if (v < 0)
		*--p = '-';
	put(l, v == NONE ? "null" : p);
}

/* Bytes above 127 go out as they are: the reader decodes lines with surrogateescape, as forktrace does. */
static inline void put_string(struct line *l, const char *s)
{
	put(l, s ? "\"" : "null");
	for (; s && *s; s++) {
		unsigned char c = *s;
		char plain[] = {*s, 0};
		char escaped[] = {'\\', 'u', '0', '0', '0' + (c >> 4), "0123456789abcdef"[c & 15], 0};

		put(l, c < 32 || c == 127 || c == '"' || c == '\\' ? escaped : plain);
	}
	put(l, s ? "\"" : "");
}

static inline void put_flags(struct line *l, uint64_t flags)
{
#define F(name) {#name, name}
	static const struct {
		const char *name;
		uint64_t bit;
	} table[] = {
		F(CLONE_VM), F(CLONE_FS), F(CLONE_FILES), F(CLONE_SIGHAND), F(CLONE_VFORK), F(CLONE_PARENT),
		F(CLONE_SYSVSEM), F(CLONE_PARENT_SETTID), F(CLONE_CHILD_CLEARTID), F(CLONE_UNTRACED),
		F(CLONE_CHILD_SETTID), F(CLONE_NEWPID), F(CLONE_IO), F(CLONE_CLEAR_SIGHAND),
	};
#undef F
	const char *comma = "";

	put(l, "[");
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
		if (flags & table[i].bit) {
			put(l, comma);
			put_string(l, table[i].name);
			flags &= ~table[i].bit;
			comma = ",";
		}
	must(!flags);
	put(l, "]");
}

/*
 * ' becomes "; %d int, %l long (NONE: null), %s string (NULL: null), %v list of strings, %f CLONE_ bits,
 * %b bool.
 */
static inline void tell(const char *fmt, ...)
{
	struct line l = {.n = 0};
	va_list ap;

	if (truth_fd() < 0)
		return;
	va_start(ap, fmt);
	for (; *fmt; fmt++) {
		char plain[] = {*fmt == '\'' ? '"' : *fmt, 0};

		if (*fmt != '%') {
			put(&l, plain);
			continue;
		}
		switch (*++fmt) {
		case 'd': put_number(&l, va_arg(ap, int)); break;
		case 'l': put_number(&l, va_arg(ap, long)); break;
		case 's': put_string(&l, va_arg(ap, const char *)); break;
		case 'f': put_flags(&l, va_arg(ap, uint64_t)); break;
		case 'b': put(&l, va_arg(ap, int) ? "true" : "false"); break;
		case 'v':
			put(&l, "[");
			for (char *const *v = va_arg(ap, char *const *), *const *first = v; *v; v++) {
				put(&l, v == first ? "" : ",");
				put_string(&l, *v);
			}
			put(&l, "]");
		}
	}
	va_end(ap);
	put(&l, "\n");
	must(write(truth_fd(), l.s, l.n) == (ssize_t)l.n);
}

/* ---- what there is to tell ---- */

/* This image's own exec, as it finds it. Every sample begins so. */
static inline void tell_image(char **argv)
{
	tell("{'ev':'exec','pid':%d,'exe':%s,'argv':%v}", getpid(), (char *)getauxval(AT_EXECFN), argv);
}

static inline void tell_exec(pid_t pid, const char *exe, char *const *argv)
{
	tell("{'ev':'exec','pid':%d,'exe':%s,'argv':%v}", pid, exe, argv);
}

static inline void tell_fork(pid_t child, const char *how)
{
	tell("{'ev':'fork','parent':%d,'child':%d,'how':%s}", getpid(), child, how);
}

static inline const char *signal_name(int sig)
{
	switch (sig) {
	case SIGABRT: return "SIGABRT";
	case SIGKILL: return "SIGKILL";
	case SIGQUIT: return "SIGQUIT";
	case SIGSEGV: return "SIGSEGV";
	case SIGTERM: return "SIGTERM";
	}
	must(!"a signal without a name here");
	return NULL;
}

/* From a wait status: the one thing that knows the end for certain. */
static inline void tell_exit(pid_t pid, int status)
{
	tell("{'ev':'exit','pid':%d,'code':%l,'signal':%s,'core':%b}", pid,
	     WIFEXITED(status) ? (long)WEXITSTATUS(status) : NONE,
	     WIFSIGNALED(status) ? signal_name(WTERMSIG(status)) : NULL, WIFSIGNALED(status) && WCOREDUMP(status));
}

static inline void tell_fact(const char *name, long value)
{
	tell("{'ev':'fact','pid':%d,'name':%s,'value':%l}", getpid(), name, value);
}

static inline void tell_text(const char *name, const char *value)
{
	tell("{'ev':'fact','pid':%d,'name':%s,'value':%s}", getpid(), name, value);
}

static inline void tell_threads(int count)
{
	tell("{'ev':'threads','pid':%d,'count':%d}", getpid(), count);
}

/* ---- doing and telling in one ---- */

static inline pid_t told_fork(void)
{
	pid_t pid = fork();

	must(pid >= 0);
	if (pid)
		tell_fork(pid, "fork");
	return pid;
}

/* Waits for `pid`, tells its end and who reaped it; returns the wait status. */
static inline int told_wait(pid_t pid)
{
	int status;

	must(waitpid(pid, &status, __WALL) == pid);
	tell_exit(pid, status);
	tell("{'ev':'reap','pid':%d,'by':%d}", pid, getpid());
	return status;
}

/* The end of a process that nobody in the sample waits for. */
static inline void told_end(int code) __attribute__((noreturn));
static inline void told_end(int code)
{
	tell("{'ev':'exit','pid':%d,'code':%d,'signal':null,'core':false}", getpid(), code);
	_exit(code);
}

/* ---- small tools ---- */

static inline int64_t now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* Blocks until somebody writes a byte into the pipe or its last writer is gone. */
static inline void hold(int fd)
{
	char c;

	while (read(fd, &c, 1) < 0 && errno == EINTR)
		;
}

static inline void release(int fd)
{
	must(write(fd, "", 1) == 1);
}

static inline void wait_ms(int ms)
{
	poll(NULL, 0, ms);
}

/* The path of the running program, absolute, so that it can exec itself from anywhere. */
static inline char *self(void)
{
	static char path[PATH_MAX];

	must(readlink("/proc/self/exe", path, sizeof(path) - 1) > 0);
	return path;
}

/* A new empty folder below TMPDIR; the sample removes it. */
static inline char *temp_dir(void)
{
	static char path[PATH_MAX];
	const char *tmp = getenv("TMPDIR");

	snprintf(path, sizeof(path), "%s/forktrace-sample-XXXXXX", tmp ? tmp : "/tmp");
	must(mkdtemp(path));
	return path;
}

static inline pid_t clone3(struct clone_args *args)
{
	return syscall(SYS_clone3, args, sizeof(*args));
}

#endif
