/* SPDX-License-Identifier: Apache-2.0 */
/* Lets a Criterion program that runs in an emulator start its workers.
 *
 * Criterion starts each test by executing its own program again, and a kernel that is not told of
 * the emulator (binfmt_misc, which takes an administrator) refuses a foreign program. This execve
 * takes the C library's place and puts the emulator's command, LT_TEST_EMULATOR, in front. */
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAX_ARGUMENTS = 64 };

__attribute__((visibility("default"))) int execve(const char *path, char *const argv[],
                                                  char *const envp[]) {
    static const char *const emulator[] = {LT_TEST_EMULATOR};
    enum { EMULATOR_ARGUMENTS = sizeof emulator / sizeof emulator[0] };
    const char *command[EMULATOR_ARGUMENTS + MAX_ARGUMENTS + 2];
    size_t n = 0;

    for (size_t i = 0; i < EMULATOR_ARGUMENTS; i++)
        command[n++] = emulator[i];
    command[n++] = path;
    for (size_t i = 1; argv[0] != NULL && argv[i] != NULL; i++) {
        if (i > MAX_ARGUMENTS)
            _exit(127);
        command[n++] = argv[i];
    }
    command[n] = NULL;
    return (int)syscall(SYS_execve, emulator[0], command, envp);
}
