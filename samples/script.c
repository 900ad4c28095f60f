/* SPDX-License-Identifier: MIT */
/*
 * A script with a #! line, made here and run by exec: exe is the script, the interpreter a fact of its
 * own, and the kernel rewrites the arguments (`argv_seen`).
 */
#include <fcntl.h>
#include <sys/stat.h>
#include "truth.h"

int main(int argc, char **argv)
{
	static const char text[] = "#!/bin/sh -u\nexit $#\n";
	char *dir = temp_dir(), path[PATH_MAX + 8];
	char *given[] = {"called", "a b", "", "c", NULL};
	pid_t pid;
	int fd;

	(void)argc;
	tell_image(argv);
	snprintf(path, sizeof(path), "%s/script", dir);
	must((fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755)) >= 0);
	must(write(fd, text, sizeof(text) - 1) == sizeof(text) - 1 && !close(fd));
	pid = told_fork();
	if (!pid) {
		execv(path, given);
		_exit(99);
	}
	tell("{'ev':'exec','pid':%d,'exe':%s,'argv':%v,'interpreter':'/bin/sh','argv_seen':%v}", pid, path, given,
	     (char *[]){"/bin/sh", "-u", path, "a b", "", "c", NULL});
	must(WEXITSTATUS(told_wait(pid)) == 3);
	must(!unlink(path) && !rmdir(dir));
	told_end(0);
}
