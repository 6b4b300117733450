/*
 * A root file system in a partition of a disk that was enlarged while the guest was paused: the partition is grown to the
 * disk's end, in its table and in the kernel, and the file system on it with it.
 *
 * Sources: UEFI specification 2.10, chapter 5 (GPT, and the MBR that protects it); include/uapi/linux/blkpg.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>
#include <unistd.h>
#include "helper.h"

#define SECTOR 512
#define MBR_ENTRIES 446
#define MBR_ENTRY 16
#define MBR_PARTITIONS 4
#define MBR_GPT 0xee
#define GPT_HEADER_MIN 92
#define GPT_TABLE_MAX (256 * 1024)
/* A partition ends where a block of 4 KiB does. */
#define ALIGN_SECTORS 8

/* Sectors of 512 bytes, as sysfs counts them. */
struct place {
    int disk, number;
    uint64_t start, disk_sectors;
};

static uint64_t get_le(const unsigned char *at, int bytes) {
    uint64_t value = 0;
    for (int i = bytes - 1; i >= 0; i--) value = value << 8 | at[i];
    return value;
}

static void put_le(unsigned char *at, int bytes, uint64_t value) {
    for (int i = 0; i < bytes; i++, value >>= 8) at[i] = (unsigned char)value;
}

static uint32_t crc32(const unsigned char *bytes, size_t length) {
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < length; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return ~crc;
}

static int read_sectors(int disk, void *bytes, size_t length, uint64_t sector) {
    return pread(disk, bytes, length, (off_t)(sector * SECTOR)) == (ssize_t)length ? 0 : -1;
}

static int write_sectors(int disk, const void *bytes, size_t length, uint64_t sector) {
    return pwrite(disk, bytes, length, (off_t)(sector * SECTOR)) == (ssize_t)length ? 0 : -1;
}

static int refuse(int reason) {
    return errno = reason, -1;
}

/* A partition behind it would be overwritten, and a table that says another thing than the kernel is not to be touched. */
static int check_place(const struct place *place, int number, uint64_t start) {
    if (number == place->number) return start == place->start ? 0 : refuse(ESTALE);
    return start > place->start ? refuse(ENOSPC) : 0;
}

/* The partition's new last sector, or 0. Logical partitions are inside another and have no entry here. */
static uint64_t grow_in_mbr(const struct place *place, unsigned char *mbr) {
    if (place->number > MBR_PARTITIONS) return refuse(EOPNOTSUPP), 0;
    for (int i = 0; i < MBR_PARTITIONS; i++) {
        const unsigned char *entry = mbr + MBR_ENTRIES + i * MBR_ENTRY;
        if ((i + 1 == place->number || entry[4] != 0) && check_place(place, i + 1, get_le(entry + 8, 4))) return 0;
    }
    uint64_t sectors = (place->disk_sectors - place->start) / ALIGN_SECTORS * ALIGN_SECTORS;
    if (sectors > UINT32_MAX) sectors = UINT32_MAX / ALIGN_SECTORS * ALIGN_SECTORS; /* an MBR knows no larger one */
    unsigned char *own = mbr + MBR_ENTRIES + (place->number - 1) * MBR_ENTRY;
    if (sectors < get_le(own + 12, 4)) sectors = get_le(own + 12, 4);
    put_le(own + 12, 4, sectors);
    if (write_sectors(place->disk, mbr, SECTOR, 0)) return 0;
    return place->start + sectors - 1;
}

static void sign(unsigned char *header) {
    size_t length = get_le(header + 12, 4);
    put_le(header + 16, 4, 0);
    put_le(header + 16, 4, crc32(header, length));
}

static int is_signed(const unsigned char *header) {
    unsigned char copy[SECTOR];
    size_t length = get_le(header + 12, 4);
    if (memcmp(header, "EFI PART", 8) || length < GPT_HEADER_MIN || length > SECTOR) return 0;
    memcpy(copy, header, SECTOR);
    sign(copy);
    return !memcmp(copy + 16, header + 16, 4);
}

/* The copy at the disk's new end is written first: one of the two is whole at any time. */
static uint64_t grow_in_gpt(const struct place *place, unsigned char *mbr) {
    unsigned char header[SECTOR], backup[SECTOR];
    if (read_sectors(place->disk, header, SECTOR, 1)) return 0;
    if (!is_signed(header)) return refuse(EILSEQ), 0;
    uint64_t at = get_le(header + 72, 8), count = get_le(header + 80, 4), size = get_le(header + 84, 4);
    if (size < 128 || size > SECTOR || count * size > GPT_TABLE_MAX) return refuse(EOPNOTSUPP), 0;
    if ((uint64_t)place->number > count) return refuse(ESTALE), 0;
    size_t table_sectors = (count * size + SECTOR - 1) / SECTOR;
    uint64_t last = 0, end = place->disk_sectors - 1;
    unsigned char *table = calloc(table_sectors, SECTOR);
    if (!table) return 0;
    if (read_sectors(place->disk, table, table_sectors * SECTOR, at)) goto out;
    if (crc32(table, count * size) != get_le(header + 88, 4)) {
        errno = EILSEQ;
        goto out;
    }
    for (uint64_t i = 0; i < count; i++) {
        const unsigned char *entry = table + i * size;
        static const unsigned char unused[16];
        int is_used = (int)i + 1 == place->number || memcmp(entry, unused, 16);
        if (is_used && check_place(place, (int)i + 1, get_le(entry + 32, 8))) goto out;
    }
    uint64_t usable = end - table_sectors - 1; /* the last sector that may be a partition's */
    last = (usable + 1) / ALIGN_SECTORS * ALIGN_SECTORS - 1;
    unsigned char *own = table + (place->number - 1) * size;
    if (last < get_le(own + 40, 8)) last = get_le(own + 40, 8);
    put_le(own + 40, 8, last);
    put_le(header + 32, 8, end);
    put_le(header + 48, 8, usable);
    put_le(header + 88, 4, crc32(table, count * size));
    sign(header);
    memcpy(backup, header, SECTOR);
    put_le(backup + 24, 8, end);
    put_le(backup + 32, 8, 1);
    put_le(backup + 72, 8, end - table_sectors);
    sign(backup);
    put_le(mbr + MBR_ENTRIES + 12, 4, end > UINT32_MAX ? UINT32_MAX : end);
    if (write_sectors(place->disk, table, table_sectors * SECTOR, end - table_sectors) ||
        write_sectors(place->disk, backup, SECTOR, end) || fsync(place->disk) ||
        write_sectors(place->disk, table, table_sectors * SECTOR, at) ||
        write_sectors(place->disk, header, SECTOR, 1) || write_sectors(place->disk, mbr, SECTOR, 0))
        last = 0;
out:;
    int failure = errno;
    free(table);
    return errno = failure, last;
}

static int grow(const struct place *place) {
    unsigned char mbr[SECTOR];
    int sector_bytes = 0;
    if (ioctl(place->disk, BLKSSZGET, &sector_bytes)) return -1;
    if (sector_bytes != SECTOR) return refuse(EOPNOTSUPP);
    if (read_sectors(place->disk, mbr, SECTOR, 0)) return -1;
    if (mbr[510] != 0x55 || mbr[511] != 0xaa) return refuse(EILSEQ);
    int is_gpt = mbr[MBR_ENTRIES + 4] == MBR_GPT;
    uint64_t last = is_gpt ? grow_in_gpt(place, mbr) : grow_in_mbr(place, mbr);
    if (last == 0 || fsync(place->disk)) return -1;
    struct blkpg_partition partition = {
        .start = (long long)place->start * SECTOR,
        .length = (long long)(last + 1 - place->start) * SECTOR,
        .pno = place->number,
    };
    struct blkpg_ioctl_arg change = {
        .op = BLKPG_RESIZE_PARTITION, .datalen = sizeof partition, .data = &partition};
    return ioctl(place->disk, BLKPG, &change);
}

/* "vda" for "vda2": the folder that its own is in. */
static int disk_of(const char *device, char *disk, size_t room) {
    char path[64] = "/sys/class/block/", target[512];
    strcat(path, device);
    ssize_t n = readlink(path, target, sizeof target - 1);
    if (n < 0) return refuse(ENODEV);
    target[n] = 0;
    char *own = strrchr(target, '/');
    if (!own) return refuse(ENODEV);
    *own = 0;
    char *name = strrchr(target, '/');
    if (!name || strlen(name + 1) >= room) return refuse(ENODEV);
    strcpy(disk, name + 1);
    return 0;
}

/*
 * partition=DEVICE,MOUNTPOINT,BYTES: waits until the disk that the partition is the last of has as many bytes, and lets the
 * partition and the file system on it have all to its end. The answer has where the partition starts, its bytes, and those of the
 * file system that are not its own tables.
 */
int op_partition(char *value) {
    struct statfs now;
    char *device = field(&value), *mount_point = field(&value), disk[32], path[40] = "/dev/";
    long long wanted = value ? number(&value, 10) : -1, uncounted = 0;
    int is_name = *device && strlen(device) < 32 && !strchr(device, '/');
    if (!is_name || *mount_point != '/' || wanted < 0 || *value) return refuse(EINVAL);
    struct place place = {.number = (int)device_fact(device, "/partition")};
    long long start = device_fact(device, "/start");
    if (place.number < 1 || start < 1 || disk_of(device, disk, sizeof disk)) return refuse(ENODEV);
    long long bytes = await_device(disk, wanted);
    if (bytes < 0) return refuse(ENODEV);
    if (bytes >= wanted) {
        place.start = (uint64_t)start;
        place.disk_sectors = (uint64_t)bytes / SECTOR;
        place.disk = open(strcat(path, disk), O_RDWR | O_CLOEXEC);
        if (place.disk < 0) return -1;
        int failed = grow(&place), failure = errno;
        close(place.disk);
        if (failed) return refuse(failure);
        uncounted = grow_file_system(mount_point, device_fact(device, "/size") * SECTOR);
        if (uncounted < 0) return -1;
    }
    if (statfs(mount_point, &now)) return -1;
    say_result("partition", device);
    say_number((unsigned long long)start * SECTOR);
    say_char(',');
    say_number((unsigned long long)device_fact(device, "/size") * SECTOR);
    say_char(',');
    say_number((unsigned long long)now.f_blocks * (unsigned long long)now.f_bsize + (unsigned long long)uncounted);
    return 0;
}
