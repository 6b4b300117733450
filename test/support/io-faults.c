/*
 * Loaded by LD_PRELOAD: makes the N-th write, fsync or ftruncate below a path fail, or ends the process there.
 *
 *   IO_FAULTS_BELOW  the path
 *   IO_FAULTS_AT     N, from 1 on; another N begins to count anew, so that one process can go through many
 *   IO_FAULTS_KIND   eio:    the call fails with EIO; an fsync loses what it was to save, as Linux does
 *                    enospc: a write is cut short and the next one fails with ENOSPC; other calls fail as with eio
 *                    full:   as enospc, and so does every further write
 *                    kill:   a write is cut short, then SIGKILL
 *                    power:  a write is cut short, what no fsync has saved is lost, and nothing changes the disk any more
 *                    torn:   as power, but of what is not saved every other write is on the disk
 *
 * It sets IO_FAULTS_DONE to N when it happens. Nothing is included and nothing linked: what it calls is in the process
 * already, so that a compiler is enough to build it.
 */
typedef unsigned long size_t;

extern int *__errno_location(void);
extern char *getenv(const char *);
extern int setenv(const char *, const char *, int);
extern int atoi(const char *);
extern int strcmp(const char *, const char *);
extern int strncmp(const char *, const char *, size_t);
extern size_t strlen(const char *);
extern char *strcpy(char *, const char *);
extern int snprintf(char *, size_t, const char *, ...);
extern void *calloc(size_t, size_t);
extern void free(void *);
extern long syscall(long, ...);

enum { SYS_WRITE = 1, SYS_OPEN = 2, SYS_LSEEK = 8, SYS_PREAD = 17, SYS_PWRITE = 18, SYS_GETPID = 39,
       SYS_KILL = 62, SYS_FSYNC = 74, SYS_FDATASYNC = 75, SYS_FTRUNCATE = 77, SYS_UNLINK = 87, SYS_READLINK = 89 };
enum { EIO = 5, ENOSPC = 28, O_RDWR = 2, SEEK_SET = 0, SEEK_CUR = 1, SEEK_END = 2, SIGKILL = 9 };
enum { PATH_SIZE = 512, MAX_UNSAVED = 1 << 16 };

/* What was in a file before a write that no fsync has saved yet. */
struct unsaved {
  char path[PATH_SIZE];
  long size, offset, length;
  char *bytes;
};

static struct unsaved *unsaved[MAX_UNSAVED];
static int unsaved_count, at, calls;
/* The next write fails; every call fails. */
static int full, dead;

static int is_kind(const char *kind) { return strcmp(getenv("IO_FAULTS_KIND"), kind) == 0; }

static long fail(int error) {
  *__errno_location() = error;
  return -1;
}

static long size_of(int fd) {
  long here = syscall(SYS_LSEEK, fd, 0L, SEEK_CUR), size = syscall(SYS_LSEEK, fd, 0L, SEEK_END);
  syscall(SYS_LSEEK, fd, here, SEEK_SET);
  return size;
}

static void remember(int fd, const char *path, long offset, long length) {
  if (unsaved_count == MAX_UNSAVED) return;
  struct unsaved *one = calloc(1, sizeof *one);
  strcpy(one->path, path);
  one->size = size_of(fd);
  one->offset = offset;
  one->bytes = calloc(1, length);
  one->length = length;
  syscall(SYS_PREAD, fd, one->bytes, length, offset);
  unsaved[unsaved_count++] = one;
}

static void undo(const struct unsaved *one, int keeps_size) {
  long fd = syscall(SYS_OPEN, one->path, O_RDWR, 0);
  if (fd < 0) return;
  syscall(SYS_PWRITE, (int)fd, one->bytes, one->length, one->offset);
  if (!keeps_size) syscall(SYS_FTRUNCATE, (int)fd, one->size);
}

static void lose_all(int every_other) {
  for (int i = unsaved_count - 1; i >= 0; i -= every_other ? 2 : 1) undo(unsaved[i], every_other);
}

/* Forgets what there is of a file, or of all, after it was saved. */
static void forget(const char *path) {
  int kept = 0;
  for (int i = 0; i < unsaved_count; i++) {
    if (path && strcmp(unsaved[i]->path, path) != 0) {
      unsaved[kept++] = unsaved[i];
      continue;
    }
    free(unsaved[i]->bytes);
    free(unsaved[i]);
  }
  unsaved_count = kept;
}

/* Takes what was not saved from the disk, the newest first. */
static void lose(const char *path) {
  for (int i = unsaved_count - 1; i >= 0; i--) if (strcmp(unsaved[i]->path, path) == 0) undo(unsaved[i], 0);
  forget(path);
}

static void begin_anew(void) {
  int wanted = atoi(getenv("IO_FAULTS_AT"));
  if (wanted == at) return;
  at = wanted;
  calls = full = dead = 0;
  forget(0);
}

static int is_watched(int fd, char *path) {
  const char *below = getenv("IO_FAULTS_BELOW");
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  long length = below ? syscall(SYS_READLINK, link, path, (long)PATH_SIZE - 1) : -1;
  if (length < 0) return 0;
  path[length] = 0;
  if (strncmp(path, below, strlen(below)) != 0) return 0;
  begin_anew();
  return 1;
}

static int is_due(void) {
  if (++calls != at) return 0;
  setenv("IO_FAULTS_DONE", getenv("IO_FAULTS_AT"), 1);
  return 1;
}

/* For calls that save or cut: the disk is gone, or refuses. */
static long end_or_fail(const char *path, int loses) {
  if (is_kind("kill")) for (;;) syscall(SYS_KILL, (int)syscall(SYS_GETPID), SIGKILL);
  if (is_kind("power") || is_kind("torn")) {
    lose_all(is_kind("torn"));
    dead = 1;
  } else if (loses) {
    lose(path);
  }
  return fail(is_kind("enospc") || is_kind("full") ? ENOSPC : EIO);
}

static long do_write(int fd, const void *data, size_t length, long offset) {
  if (offset < 0) return syscall(SYS_WRITE, fd, data, length);
  return syscall(SYS_PWRITE, fd, data, length, offset);
}

static long faulty_write(int fd, const void *data, size_t length, long offset) {
  char path[PATH_SIZE];
  if (!is_watched(fd, path)) return do_write(fd, data, length, offset);
  if (dead) return fail(EIO);
  if (full) {
    full = is_kind("full");
    return fail(ENOSPC);
  }
  int due = is_due();
  if (due && is_kind("eio")) return fail(EIO);
  if (due) length /= 2;
  remember(fd, path, offset < 0 ? syscall(SYS_LSEEK, fd, 0L, SEEK_CUR) : offset, (long)length);
  long written = do_write(fd, data, length, offset);
  full = due && (is_kind("enospc") || is_kind("full"));
  return due && !full ? end_or_fail(path, 0) : written;
}

static long faulty_sync(int fd, long number) {
  char path[PATH_SIZE];
  if (!is_watched(fd, path)) return syscall(number, fd);
  if (dead) return fail(EIO);
  if (is_due()) return end_or_fail(path, 1);
  forget(path);
  return syscall(number, fd);
}

static long faulty_truncate(int fd, long length) {
  char path[PATH_SIZE];
  if (!is_watched(fd, path)) return syscall(SYS_FTRUNCATE, fd, length);
  if (dead) return fail(EIO);
  if (is_due()) return end_or_fail(path, 0);
  long rest = size_of(fd) - length;
  remember(fd, path, length, rest > 0 ? rest : 0);
  return syscall(SYS_FTRUNCATE, fd, length);
}

static int is_dead(const char *path) {
  const char *below = getenv("IO_FAULTS_BELOW");
  return dead && below && strncmp(path, below, strlen(below)) == 0;
}

int unlink(const char *path) { return is_dead(path) ? (int)fail(EIO) : (int)syscall(SYS_UNLINK, path); }
long write(int fd, const void *data, size_t length) { return faulty_write(fd, data, length, -1); }
long pwrite(int fd, const void *data, size_t length, long offset) { return faulty_write(fd, data, length, offset); }
long pwrite64(int fd, const void *data, size_t length, long offset) { return faulty_write(fd, data, length, offset); }
int fsync(int fd) { return (int)faulty_sync(fd, SYS_FSYNC); }
int fdatasync(int fd) { return (int)faulty_sync(fd, SYS_FDATASYNC); }
int ftruncate(int fd, long length) { return (int)faulty_truncate(fd, length); }
int ftruncate64(int fd, long length) { return (int)faulty_truncate(fd, length); }
