/* SPDX-License-Identifier: Apache-2.0 */
/* The program cache. A file is named after its key and holds a header, the same bytes on every
 * machine, and the driver's binary. */
#include "opencl/program_cache.h"

#include "core/error.h"
#include "files/atomic_file.h"
#include "files/file_io.h"
#include "opencl/kernel_sources.h"
#include "pool/pool.h"
#include <errno.h>
#include <fcntl.h>
#include <lathe/version.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

/* Of the header and of what the key is made from. */
enum { FORMAT_VERSION = 1 };

#define MAX_BINARY_BYTES ((uint64_t)64 << 20)

static const char magic[8] = "LATHECLB";

typedef struct file_header {
    char magic[8];
    uint8_t version[8]; /* of the format; little-endian, as n_bytes */
    lt_cl_cache_key key;
    uint8_t n_bytes[8]; /* of the binary */
    uint8_t hash[16];   /* XXH3, 128 bits, of the binary; in xxHash's canonical order, as the key */
} file_header;

_Static_assert(sizeof(file_header) == 56, "the header has no padding");

typedef struct cache_path {
    char text[4096];
} cache_path;

/* A length goes before each text, so that none runs into the next one. */
static void hash_text(XXH3_state_t *state, const char *text) {
    const uint64_t length = strlen(text);
    (void)XXH3_128bits_update(state, &length, sizeof length);
    (void)XXH3_128bits_update(state, text, length);
}

static bool hash_device_text(XXH3_state_t *state, cl_device_id id, cl_device_info what) {
    char text[1024] = "";
    bool ok = clGetDeviceInfo(id, what, sizeof text - 1, text, NULL) == CL_SUCCESS;
    hash_text(state, text);
    return ok;
}

static bool hash_platform_text(XXH3_state_t *state, cl_platform_id id, cl_platform_info what) {
    char text[1024] = "";
    bool ok = clGetPlatformInfo(id, what, sizeof text - 1, text, NULL) == CL_SUCCESS;
    hash_text(state, text);
    return ok;
}

static void put_u64(uint8_t bytes[8], uint64_t value) {
    for (unsigned i = 0; i < 8; i++) {
        bytes[i] = (uint8_t)(value >> 8 * i);
    }
}

static void put_hash(uint8_t bytes[16], XXH128_hash_t hash) {
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, hash);
    memcpy(bytes, canonical.digest, 16);
}

bool lt_cl_cache_key_of(const lt_cl_device *device, const char *options, lt_cl_cache_key *key) {
    XXH3_state_t state;
    uint8_t version[8];
    (void)XXH3_128bits_reset(&state);
    put_u64(version, FORMAT_VERSION);
    (void)XXH3_128bits_update(&state, version, sizeof version);
    hash_text(&state, lathe_version());
    if (!hash_platform_text(&state, device->platform, CL_PLATFORM_NAME) ||
        !hash_platform_text(&state, device->platform, CL_PLATFORM_VERSION) ||
        !hash_device_text(&state, device->id, CL_DEVICE_NAME) ||
        !hash_device_text(&state, device->id, CL_DEVICE_VENDOR) ||
        !hash_device_text(&state, device->id, CL_DEVICE_VERSION) ||
        !hash_device_text(&state, device->id, CL_DRIVER_VERSION)) {
        return false;
    }
    hash_text(&state, options);
    for (size_t i = 0; i < lt_n_kernel_sources; i++) {
        hash_text(&state, lt_kernel_sources[i]);
    }
    put_hash(key->bytes, XXH3_128bits_digest(&state));
    return true;
}

static bool path_of(const char *folder, const lt_cl_cache_key *key, cache_path *path) {
    char name[2 * sizeof key->bytes + 1];
    for (size_t i = 0; i < sizeof key->bytes; i++) {
        (void)snprintf(name + 2 * i, 3, "%02x", (unsigned)key->bytes[i]);
    }
    int length = snprintf(path->text, sizeof path->text, "%s/%s.clbin", folder, name);
    return length > 0 && (size_t)length < sizeof path->text;
}

static file_header header_of(const lt_cl_cache_key *key, const void *binary, size_t n_bytes) {
    file_header header;
    memcpy(header.magic, magic, sizeof magic);
    put_u64(header.version, FORMAT_VERSION);
    header.key = *key;
    put_u64(header.n_bytes, n_bytes);
    put_hash(header.hash, XXH3_128bits(binary, n_bytes));
    return header;
}

/* Opens a file that this library may have written: regular, no link, the user's own or root's (a
 * binary is code), and of a reasonable size. Returns its descriptor, or -1. */
static int open_file(const char *path, size_t *binary_bytes) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        return -1;
    }
    struct stat info;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) ||
        (info.st_uid != geteuid() && info.st_uid != 0) ||
        info.st_size <= (off_t)sizeof(file_header) ||
        (uint64_t)info.st_size - sizeof(file_header) > MAX_BINARY_BYTES) {
        (void)close(fd);
        return -1;
    }
    *binary_bytes = (size_t)info.st_size - sizeof(file_header);
    return fd;
}

bool lt_cl_cache_load(lathe_pool *pool, const char *folder, const lt_cl_cache_key *key,
                      void **binary, size_t *n_bytes) {
    const lathe_error before = *lt_error();
    cache_path path;
    file_header header;
    void *block = NULL;
    size_t size = 0;
    bool is_good = false;
    int fd = path_of(folder, key, &path) ? open_file(path.text, &size) : -1;
    if (fd < 0 || lathe_pool_alloc(pool, size, &block) != LATHE_OK) {
        goto out;
    }
    if (lt_file_read(fd, 0, &header, sizeof header) == LATHE_OK &&
        lt_file_read(fd, sizeof header, block, size) == LATHE_OK) {
        const file_header expected = header_of(key, block, size);
        is_good = memcmp(&header, &expected, sizeof header) == 0;
    }
    if (is_good) {
        *binary = block;
        *n_bytes = size;
        block = NULL;
    }
out:
    lt_pool_delete(pool, block);
    if (fd >= 0) {
        (void)close(fd);
    }
    *lt_error() = before;
    return is_good;
}

/* mkdir -p. Whether it worked shows when the file is made. */
static void make_folder(const char *folder) {
    cache_path path;
    size_t length = strlen(folder);
    if (length >= sizeof path.text) {
        return;
    }
    memcpy(path.text, folder, length + 1);
    for (size_t i = 1; i <= length; i++) {
        if (path.text[i] == '/' || path.text[i] == '\0') {
            path.text[i] = '\0';
            (void)mkdir(path.text, 0700);
            path.text[i] = folder[i];
        }
    }
}

/* A link, a pipe or the like under the name would be written through or refused: it goes. */
static void clear_path(const char *path) {
    struct stat info;
    if (lstat(path, &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) {
        (void)unlink(path);
    }
}

void lt_cl_cache_store(lathe_pool *pool, const char *folder, const lt_cl_cache_key *key,
                       const void *binary, size_t n_bytes) {
    const lathe_error before = *lt_error();
    cache_path path;
    if (n_bytes == 0 || n_bytes > MAX_BINARY_BYTES || !path_of(folder, key, &path)) {
        return;
    }
    make_folder(folder);
    clear_path(path.text);
    const file_header header = header_of(key, binary, n_bytes);
    lt_atomic_file *file = NULL;
    if (lt_atomic_create(pool, path.text, true, &file) == LATHE_OK &&
        lt_atomic_reserve(file, sizeof header + n_bytes) == LATHE_OK &&
        lt_atomic_write(file, 0, &header, sizeof header) == LATHE_OK &&
        lt_atomic_write(file, sizeof header, binary, n_bytes) == LATHE_OK &&
        lt_atomic_sync(file) == LATHE_OK) {
        (void)lt_atomic_publish(file);
    }
    lt_atomic_close(file);
    *lt_error() = before;
}

void lt_cl_cache_remove(const char *folder, const lt_cl_cache_key *key) {
    cache_path path;
    if (path_of(folder, key, &path)) {
        (void)unlink(path.text);
    }
}
