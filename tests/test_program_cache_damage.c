/* SPDX-License-Identifier: Apache-2.0 */
/* The program cache: every way in which a cached file can be wrong, after each of which a program
 * is built from source that works. */
#include "program_cache_case.h"

/* Ways to spoil a file. */
typedef enum damage {
    DAMAGE_EMPTY,
    DAMAGE_MAGIC,
    DAMAGE_VERSION,
    DAMAGE_KEY,
    DAMAGE_LENGTH,
    DAMAGE_HASH,
    DAMAGE_FIRST_BYTE,
    DAMAGE_LAST_BYTE,
    DAMAGE_CUT_IN_HEADER,
    DAMAGE_CUT_AT_HEADER,
    DAMAGE_CUT,
    DAMAGE_LONGER,
    DAMAGE_LARGE,
    DAMAGE_HUGE,
    DAMAGE_OTHER_PAIR,
    DAMAGE_LINK,
    DAMAGE_DANGLING_LINK,
    DAMAGE_PIPE,
    DAMAGE_DIRECTORY,
    DAMAGE_COUNT
} damage;

static void write_at(const char *path, long offset, const void *bytes, size_t n_bytes) {
    FILE *file = fopen(path, "r+b");
    CHECK(file != NULL && fseek(file, offset, SEEK_SET) == 0, "cannot open %s", path);
    CHECK(fwrite(bytes, 1, n_bytes, file) == n_bytes && fclose(file) == 0, "cannot write");
}

static void flip(const char *path, const char *good, long offset) {
    const char byte = (char)(good[offset] ^ 0x10);
    write_at(path, offset, &byte, 1);
}

/* `good` is what the file holds, n_bytes of it. */
static void damage_bytes(const char *path, const char *good, size_t n_bytes, damage what) {
    static const long offsets[] = {
        [DAMAGE_MAGIC] = 0,   [DAMAGE_VERSION] = 8, [DAMAGE_KEY] = 20,
        [DAMAGE_LENGTH] = 32, [DAMAGE_HASH] = 55,   [DAMAGE_FIRST_BYTE] = HEADER_BYTES,
    };
    static const off_t lengths[DAMAGE_COUNT] = {
        [DAMAGE_CUT_IN_HEADER] = 10,
        [DAMAGE_CUT_AT_HEADER] = HEADER_BYTES,
        [DAMAGE_LARGE] = (off_t)64 << 20,
        [DAMAGE_HUGE] = (off_t)1 << 40,
    };
    if (what >= DAMAGE_MAGIC && what <= DAMAGE_FIRST_BYTE) {
        flip(path, good, offsets[what]);
    } else if (what == DAMAGE_LAST_BYTE) {
        flip(path, good, (long)n_bytes - 1);
    } else {
        off_t length = what == DAMAGE_CUT      ? (off_t)n_bytes - 1
                       : what == DAMAGE_LONGER ? (off_t)n_bytes + 1
                                               : lengths[what];
        CHECK(truncate(path, length) == 0, "cannot truncate to %lld", (long long)length);
    }
}

/* Puts something else under the file's name. */
static void damage_name(const rig *r, const char *path, const char *good, size_t n_bytes,
                        damage what) {
    const char *target = test_path(&r->folder, "target");
    CHECK(unlink(path) == 0, "unlink");
    if (what == DAMAGE_DIRECTORY) {
        CHECK(mkdir(path, 0700) == 0, "mkdir");
    } else if (what == DAMAGE_PIPE) {
        CHECK(mkfifo(path, 0600) == 0, "mkfifo");
    } else {
        if (what == DAMAGE_LINK) {
            test_write_file(target, good, n_bytes);
        }
        CHECK(symlink(target, path) == 0, "symlink");
    }
}

/* A whole file, but of another pair. */
static void replace_by_other_pair(const rig *r, const char *path) {
    session s;
    lt_cl_program *pair = NULL;
    const char *kept = test_path(&r->folder, "kept");
    CHECK(rename(path, kept) == 0, "rename");
    session_begin(&s, r, r->cache);
    CHECK_OK(lt_cl_programs_get(&s.programs, LATHE_F32, LATHE_BF16, &pair));
    lt_cl_programs_judge(&s.programs, LATHE_F32, LATHE_BF16, true);
    session_end(&s);
    CHECK(rename(only_file(r), path) == 0 && unlink(kept) == 0, "rename");
}

/* The cache is empty or, from the last time, whole again; and so it is left. */
static void check_damage(const rig *r, damage what) {
    session s;
    if (!test_file_exists(r->cache) || count_files(r->cache) == 0) {
        fill_cache(r);
    }
    const char *path = only_file(r);
    size_t n_bytes = 0;
    char *good = test_read_file(path, &n_bytes);
    if (what == DAMAGE_OTHER_PAIR) {
        replace_by_other_pair(r, path);
    } else if (what >= DAMAGE_LINK) {
        damage_name(r, path, good, n_bytes, what);
    } else {
        damage_bytes(path, good, n_bytes, what);
    }

    session_begin(&s, r, r->cache);
    check_built(r, &s);
    CHECK(s.counters.n_device_errors == 0, "damage %d reaches the driver", (int)what);
    lt_cl_programs_judge(&s.programs, SRC, DST, true);
    session_end(&s);

    struct stat info;
    CHECK(lstat(path, &info) == 0, "lstat");
    if (what == DAMAGE_DIRECTORY) {
        CHECK(S_ISDIR(info.st_mode) && count_files(r->cache) == 1, "directory");
        CHECK(rmdir(path) == 0, "rmdir");
    } else {
        CHECK(S_ISREG(info.st_mode), "damage %d is not repaired", (int)what);
        session_begin(&s, r, r->cache);
        check_loaded(r, &s);
        session_end(&s);
        (void)only_file(r);
    }
    if (what == DAMAGE_LINK) {
        size_t left = 0;
        char *bytes = test_read_file(test_path(&r->folder, "target"), &left);
        CHECK(left == n_bytes && memcmp(bytes, good, left) == 0, "written through the link");
        CHECK(unlink(test_path(&r->folder, "target")) == 0, "unlink");
        free(bytes);
    } else {
        CHECK(!test_file_exists(test_path(&r->folder, "target")), "written through the link");
    }
    free(good);
}

Test(program_cache, damaged_contents) {
    rig r = rig_new();
    for (int what = DAMAGE_EMPTY; what < DAMAGE_CUT_IN_HEADER; what++) {
        check_damage(&r, (damage)what);
    }
    rig_free(&r);
}

Test(program_cache, wrong_files) {
    rig r = rig_new();
    for (int what = DAMAGE_CUT_IN_HEADER; what < DAMAGE_COUNT; what++) {
        check_damage(&r, (damage)what);
    }
    rig_free(&r);
}

static lt_cl_cache_key key_with(const rig *r, const char *options) {
    lt_cl_cache_key key;
    CHECK(lt_cl_cache_key_of(&r->device, options, &key), "no key");
    return key;
}

/* A binary that is whole but that the driver refuses. */
Test(program_cache, binary_of_another_driver) {
    rig r = rig_new();
    session s;
    fill_cache(&r);
    const char *path = only_file(&r);
    lt_cl_cache_key key;
    size_t n_bytes = 0;
    char *good = test_read_file(path, &n_bytes);
    memcpy(&key, good + 16, sizeof key);
    lt_cl_cache_store(r.pool, r.cache, &key, "no program at all, only text", 28);
    free(good);
    session_begin(&s, &r, r.cache);
    check_built(&r, &s);
    CHECK(s.counters.n_device_errors == 1, "%u errors", (unsigned)s.counters.n_device_errors);
    lt_cl_programs_judge(&s.programs, SRC, DST, true);
    session_end(&s);
    session_begin(&s, &r, r.cache);
    check_loaded(&r, &s);
    session_end(&s);
    rig_free(&r);
}

/* Every byte of a file matters, and so does its end. */
Test(program_cache, every_byte) {
    rig r = rig_new();
    const lt_cl_cache_key key = key_with(&r, "-DA");
    static const char binary[] = "0123456789";
    void *loaded = NULL;
    size_t n_bytes = 0;
    lt_cl_cache_store(r.pool, r.cache, &key, binary, sizeof binary);
    const char *path = only_file(&r);
    char *good = test_read_file(path, &n_bytes);
    CHECK(n_bytes == HEADER_BYTES + sizeof binary, "%zu bytes", n_bytes);
    for (size_t i = 0; i < n_bytes; i++) {
        size_t left = 7;
        flip(path, good, (long)i);
        CHECK(!lt_cl_cache_load(r.pool, r.cache, &key, &loaded, &left), "byte %zu", i);
        write_at(path, (long)i, good + i, 1);
        CHECK(loaded == NULL && left == 7, "the outputs of a failed call are changed");
    }
    for (size_t i = 0; i < n_bytes; i++) {
        test_write_file(path, good, i);
        CHECK(!lt_cl_cache_load(r.pool, r.cache, &key, &loaded, &n_bytes), "length %zu", i);
    }
    test_write_file(path, good, n_bytes);
    CHECK(lt_cl_cache_load(r.pool, r.cache, &key, &loaded, &n_bytes), "not loaded");
    CHECK(n_bytes == sizeof binary && memcmp(loaded, binary, n_bytes) == 0, "other contents");
    lt_pool_delete(r.pool, loaded);

    /* Another name, or another key. */
    const lt_cl_cache_key other = key_with(&r, "-DB");
    CHECK(memcmp(&key, &other, sizeof key) != 0, "options do not matter");
    CHECK(!lt_cl_cache_load(r.pool, r.cache, &other, &loaded, &n_bytes), "loaded");
    lt_cl_cache_remove(r.cache, &other);
    CHECK(count_files(r.cache) == 1, "removed another file");
    lt_cl_cache_remove(r.cache, &key);
    CHECK(count_files(r.cache) == 0, "not removed");
    free(good);
    rig_free(&r);
}
