/* SPDX-License-Identifier: MIT */
/*
 * One child looks for a program as a shell does: 4 execs fail, each in another way, and the fifth
 * succeeds.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include "truth.h"

static void refuse(const char *exe, int expected)
{
	execv(exe, (char *[]){(char *)exe, NULL});
	must(errno == expected);
	tell("{'ev':'exec_failed','pid':%d,'exe':%s,'errno':%d}", getpid(), exe, expected);
}

int main(int argc, char **argv)
{
	char *child_argv[] = {"true", "found", NULL};
	char *dir = temp_dir();
	int fd;
	pid_t pid;

	(void)argc;
	tell_image(argv);
	must(!chdir(dir));
	must((fd = open("text", O_WRONLY | O_CREAT, 0755)) >= 0);
	must(write(fd, "no program\n", 11) == 11 && !close(fd));
	must((fd = open("plain", O_WRONLY | O_CREAT, 0644)) >= 0 && !close(fd));
	pid = told_fork();
	if (!pid) {
		refuse("./absent", ENOENT);
		refuse("./plain", EACCES);
		refuse("./text", ENOEXEC);
		refuse("./text/below", ENOTDIR);
		tell_exec(getpid(), "/bin/true", child_argv);
		execv("/bin/true", child_argv);
		must(!"execv returned");
	}
	must(!WEXITSTATUS(told_wait(pid)));
	must(!unlink("text") && !unlink("plain") && !rmdir(dir));
	told_end(0);
}
