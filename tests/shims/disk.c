/* A disk that can be slow, full or broken: preloaded, it stands between a program and the system's calls.
 *
 * SHIM_SYNC_MS    each sync takes so many milliseconds longer
 * SHIM_FAULT      a file; while it says "sync", syncs fail with EIO; while it says "full", writes to files whose
 *                 path holds SHIM_PATH fail with ENOSPC; "read-only": with EROFS. Anything else is no fault.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static int fault_is(const char *what)
{
    const char *path = getenv("SHIM_FAULT");
    char said[16] = "";
    if (path == NULL)
        return 0;
    int file = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (file < 0)
        return 0;
    ssize_t length = syscall(SYS_read, file, said, sizeof said - 1);
    syscall(SYS_close, file);
    return length >= (ssize_t)strlen(what) && strncmp(said, what, strlen(what)) == 0;
}

static int is_ours(int file)
{
    const char *part = getenv("SHIM_PATH");
    char link[64], path[4096];
    if (part == NULL)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return strstr(path, part) != NULL;
}

static int refused(int file)
{
    int why = fault_is("full") ? ENOSPC : fault_is("read-only") ? EROFS : 0;
    if (why == 0 || !is_ours(file))
        return 0;
    errno = why;
    return 1;
}

static void take_time(void)
{
    const char *text = getenv("SHIM_SYNC_MS");
    double ms = text == NULL ? 0 : atof(text);
    if (ms > 0) {
        struct timespec rest = {(time_t)(ms / 1000), (long)(ms * 1e6) % 1000000000L};
        nanosleep(&rest, NULL);
    }
}

typedef int (*sync_call)(int);
typedef ssize_t (*write_call)(int, const void *, size_t);
typedef ssize_t (*write_at_call)(int, const void *, size_t, off64_t);

#define REAL(type, name) type real = (type)dlsym(RTLD_NEXT, name)

int fsync(int file)
{
    REAL(sync_call, "fsync");
    take_time();
    if (is_ours(file) && fault_is("sync")) {
        errno = EIO;
        return -1;
    }
    return real(file);
}

int fdatasync(int file)
{
    REAL(sync_call, "fdatasync");
    take_time();
    if (is_ours(file) && fault_is("sync")) {
        errno = EIO;
        return -1;
    }
    return real(file);
}

ssize_t write(int file, const void *data, size_t size)
{
    REAL(write_call, "write");
    return refused(file) ? -1 : real(file, data, size);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t at)
{
    REAL(write_at_call, "pwrite");
    return refused(file) ? -1 : real(file, data, size, at);
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t at)
{
    REAL(write_at_call, "pwrite64");
    return refused(file) ? -1 : real(file, data, size, at);
}
