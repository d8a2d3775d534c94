/* Stands before the C library and refuses what filesystems of clusters refuse. REFUSE names it:
 *   flags     renameat2 with any flag is EINVAL (NFS, Lustre, FUSE)
 *   exchange  renameat2 with RENAME_EXCHANGE is EINVAL
 *   enosys    renameat2 with any flag is ENOSYS (old kernels, sandboxes)
 *   nolock    flock is ENOLCK          (NFS without lockd)
 *   noflock   flock is ENOSYS          (Lustre without -o flock)
 *   readonly  flock for writing on a descriptor that is not is EBADF (NFS)
 *   local     flock is granted always  (as on another host: BeeGFS, localflock, local_lock)
 *   dirsync   fsync of a directory is EINVAL
 *   nolink    hard links are EPERM
 *   emlink    hard links are EMLINK
 *   nomove    no directory can be renamed: EXDEV
 * KILL_AT=n kills the process right before the n-th rename of, or to, a path that ends with KILL_PATH. Those that are refused do not
 * count. KILL_LINK=name kills it right before a hard link whose name ends with that.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int refuses(const char *what) {
    const char *all = getenv("REFUSE");
    size_t n = strlen(what);
    for (const char *at = all; at && (at = strstr(at, what)); at += n)
        if ((at == all || at[-1] == ',') && (at[n] == ',' || at[n] == 0))
            return 1;
    return 0;
}

static int refuse(int code) {
    errno = code;
    return -1;
}

static int ends(const char *path, const char *tail) {
    size_t n = strlen(path), m = strlen(tail);
    return n >= m && strcmp(path + n - m, tail) == 0;
}

static void count(const char *from, const char *to) {
    static int n = 0;
    const char *at = getenv("KILL_AT"), *tail = getenv("KILL_PATH");
    if (at && tail && (ends(from, tail) || ends(to, tail)) && ++n == atoi(at))
        kill(getpid(), SIGKILL);
}

static int is_directory(const char *path) {
    struct stat about;
    return lstat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags) {
    int (*next)(int, const char *, int, const char *, unsigned) = dlsym(RTLD_NEXT, "renameat2");
    if (flags && refuses("enosys"))
        return refuse(ENOSYS);
    if (flags && refuses("flags"))
        return refuse(EINVAL);
    if (flags & RENAME_EXCHANGE && refuses("exchange"))
        return refuse(EINVAL);
    if (is_directory(from) && refuses("nomove"))
        return refuse(EXDEV);
    count(from, to);
    return next(from_at, from, to_at, to, flags);
}

int rename(const char *from, const char *to) {
    int (*next)(const char *, const char *) = dlsym(RTLD_NEXT, "rename");
    if (is_directory(from) && refuses("nomove"))
        return refuse(EXDEV);
    count(from, to);
    return next(from, to);
}

int flock(int fd, int operation) {
    int (*next)(int, int) = dlsym(RTLD_NEXT, "flock");
    if (refuses("nolock"))
        return refuse(ENOLCK);
    if (refuses("noflock"))
        return refuse(ENOSYS);
    if (operation & LOCK_EX && refuses("readonly") && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY)
        return refuse(EBADF);
    if (refuses("local"))
        return 0;
    return next(fd, operation);
}

int fsync(int fd) {
    int (*next)(int) = dlsym(RTLD_NEXT, "fsync");
    struct stat about;
    if (refuses("dirsync") && fstat(fd, &about) == 0 && S_ISDIR(about.st_mode))
        return refuse(EINVAL);
    return next(fd);
}

static int link_refusal(const char *to) {
    const char *tail = getenv("KILL_LINK");
    if (tail && ends(to, tail))
        kill(getpid(), SIGKILL);
    return refuses("nolink") ? EPERM : refuses("emlink") ? EMLINK : 0;
}

int link(const char *from, const char *to) {
    int (*next)(const char *, const char *) = dlsym(RTLD_NEXT, "link");
    int refusal = link_refusal(to);
    return refusal ? refuse(refusal) : next(from, to);
}

int linkat(int from_at, const char *from, int to_at, const char *to, int flags) {
    int (*next)(int, const char *, int, const char *, int) = dlsym(RTLD_NEXT, "linkat");
    int refusal = link_refusal(to);
    return refusal ? refuse(refusal) : next(from_at, from, to_at, to, flags);
}
