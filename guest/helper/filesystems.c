/*
 * A file system that is mounted is let have all of a device that was enlarged: each kind by an ioctl of its own, so that
 * nothing has to be installed in the guest.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/magic.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>
#include <unistd.h>
#include "helper.h"

/* include/uapi/linux/ext4.h, which distributions do not install */
#define EXT4_IOC_RESIZE_FS _IOW('f', 16, unsigned long long)

/* fs/xfs/libxfs/xfs_fs.h, which comes with xfsprogs: the oldest form of the geometry, which every kernel knows */
struct xfs_geometry {
    uint32_t block_bytes, rt_extent_blocks, group_blocks, groups, log_blocks, sector_bytes, inode_bytes, max_inode_percent;
    uint64_t blocks, rt_blocks, rt_extents, log_start;
    unsigned char uuid[16];
    uint32_t stripe_unit, stripe_width;
    int32_t version;
    uint32_t flags, log_sector_bytes, rt_sector_bytes, folder_block_bytes;
};
struct xfs_growth {
    uint64_t blocks;
    uint32_t max_inode_percent;
};
#define XFS_IOC_FSGEOMETRY_V1 _IOR('X', 100, struct xfs_geometry)
#define XFS_IOC_FSGROWFSDATA _IOW('X', 110, struct xfs_growth)
_Static_assert(sizeof(struct xfs_geometry) == 112 && sizeof(struct xfs_growth) == 16, "the kernel's own sizes");

/* The share of inodes is set by the same call: it is given back as it was. */
static long long grow_xfs(int fd, long long bytes) {
    struct xfs_geometry now;
    if (ioctl(fd, XFS_IOC_FSGEOMETRY_V1, &now)) return -1;
    struct xfs_growth wanted = {
        .blocks = (uint64_t)bytes / now.block_bytes, .max_inode_percent = now.max_inode_percent};
    if (ioctl(fd, XFS_IOC_FSGROWFSDATA, &wanted)) return -1;
    return now.log_start ? (long long)now.log_blocks * now.block_bytes : 0;
}

/* Its first device, which is its only one here. What stands in the way, such as a balance, is a positive number. */
static int grow_btrfs(int fd) {
    static struct btrfs_ioctl_vol_args device; /* of 4 KiB: on the stack it would be touched for other file systems too */
    strcpy(device.name, "1:max");
    int failed = ioctl(fd, BTRFS_IOC_RESIZE, &device);
    return failed > 0 ? (errno = EBUSY, -1) : failed;
}

/* Inlined, and the other kinds are cold: ext4, which most have, runs as few branches as if it were alone (see helper.c). */
__attribute__((always_inline)) static inline long long close_after(int fd, long long result) {
    int failure = errno;
    close(fd);
    errno = failure;
    return result;
}

__attribute__((noinline, cold)) static long long grow_other(int fd, unsigned long type, long long bytes) {
    if (type == XFS_SUPER_MAGIC) return close_after(fd, grow_xfs(fd, bytes));
    if (type == BTRFS_SUPER_MAGIC) return close_after(fd, grow_btrfs(fd));
    errno = ENOTTY;
    return close_after(fd, -1);
}

/*
 * Lets the file system that is mounted at a path have all of a device of `bytes`. Returns how many of them statfs does not
 * count though they are no tables: the log of an xfs, of which a small one mostly consists. -1 when it does not grow.
 */
long long grow_file_system(const char *mount_point, long long bytes) {
    struct statfs now;
    now.f_type = 0; /* of none, when it cannot be asked */
    int fd = open(mount_point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return -1;
    fstatfs(fd, &now);
    if (now.f_type != EXT4_SUPER_MAGIC) return grow_other(fd, now.f_type, bytes);
    unsigned long long blocks = (unsigned long long)bytes / (unsigned long long)now.f_bsize;
    return close_after(fd, ioctl(fd, EXT4_IOC_RESIZE_FS, &blocks));
}
