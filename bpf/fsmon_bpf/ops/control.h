/* ioctl: the few commands that change what a file is. */

/* include/uapi/linux/fs.h */
#define FS_IOC_SETFLAGS 0x40086602
#define FS_IOC32_SETFLAGS 0x40046602
#define FS_IOC_FSSETXATTR 0x401c5820
#define FICLONE 0x40049409
#define FICLONERANGE 0x4020940d
#define FIDEDUPERANGE 0xc0189436

static __always_inline u32 sets_flags(u32 command) {
    return command == FS_IOC_SETFLAGS || command == FS_IOC32_SETFLAGS || command == FS_IOC_FSSETXATTR;
}

static __always_inline u32 clones(u32 command) {
    return command == FICLONE || command == FICLONERANGE;
}
