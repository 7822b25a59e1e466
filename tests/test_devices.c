/* SPDX-License-Identifier: Apache-2.0 */
/* Devices: the list, choosing one, opening one, and machines where OpenCL is missing or broken. */
#include "checkpoint_files.h"

#if LT_HAVE_OPENCL
#include "opencl/device.h"
#include <ctype.h>
#endif

static lathe_device_info info_at(size_t index) {
    lathe_device_info info;
    memset(&info, 0x5a, sizeof info);
    info.struct_size = sizeof info;
    CHECK_OK(lathe_device_at(index, &info));
    CHECK(info.struct_size == sizeof info, "struct_size of device %zu", index);
    return info;
}

static void check_cpu(void) {
    const lathe_device_info info = info_at(0);
    CHECK(strcmp(info.selector, "cpu") == 0 && strcmp(info.kind, "cpu") == 0, "%s, %s",
          info.selector, info.kind);
    CHECK(info.name[0] != '\0' && info.platform[0] == '\0' && info.driver[0] == '\0', "%s",
          info.name);
    CHECK(info.threads >= 1 && info.memory_bytes > 0 && info.shares_host_memory == 1, "numbers");
    CHECK(info.self_check == LATHE_CHECK_PASSED, "self-check %d", (int)info.self_check);
}

/* The CPU is listed as an engine describes it that uses all of it. */
Test(devices, cpu) {
    check_cpu();
    lathe_engine *engine = NULL;
    lathe_device_info used = {.struct_size = sizeof used};
    CHECK_OK(lathe_engine_create(NULL, &engine));
    CHECK_OK(lathe_engine_device(engine, &used));
    const lathe_device_info listed = info_at(0);
    CHECK(strcmp(used.name, listed.name) == 0 && strcmp(used.selector, listed.selector) == 0,
          "%s, %s", used.name, listed.name);
    CHECK(used.isa == listed.isa && used.threads == listed.threads, "isa, threads");
    CHECK(used.memory_bytes == listed.memory_bytes && used.l2_bytes == listed.l2_bytes, "bytes");
    lathe_engine_free(engine);
}

Test(devices, bad_arguments) {
    lathe_device_info info = {.struct_size = 1};
    CHECK_STATUS(lathe_device_at(0, NULL), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_device_at(0, &info), LATHE_INVALID_ARGUMENT);
    info.struct_size = sizeof info;
    CHECK_STATUS(lathe_device_at(lathe_device_count(), &info), LATHE_NOT_FOUND);
    CHECK_STATUS(lathe_device_at(SIZE_MAX, &info), LATHE_NOT_FOUND);
    CHECK(info.selector[0] == '\0', "the output of a failed call is changed");
}

#if LT_HAVE_OPENCL

/* Must come before the first use of OpenCL in the process. */
static test_folder private_pocl_cache(void) {
    test_folder folder = test_folder_new();
    CHECK(setenv("POCL_CACHE_DIR", folder.path, 1) == 0, "setenv");
    return folder;
}

static void use_vendors(const char *path) {
    CHECK(setenv("OCL_ICD_VENDORS", path, 1) == 0, "setenv");
}

Test(devices, list) {
    const test_folder cache = private_pocl_cache();
    check_cpu();
    for (size_t i = 1; i < lathe_device_count(); i++) {
        const lathe_device_info info = info_at(i);
        CHECK(strcmp(info.selector, test_text("opencl:%zu", i - 1)) == 0, "%s", info.selector);
        CHECK(strcmp(info.kind, "gpu") == 0 || strcmp(info.kind, "cpu") == 0 ||
                  strcmp(info.kind, "accelerator") == 0,
              "%s", info.kind);
        CHECK(info.name[0] != '\0' && info.platform[0] != '\0' && info.driver[0] != '\0', "names");
        CHECK(info.isa == LATHE_ISA_AUTO && info.self_check == LATHE_CHECK_NONE, "isa, check");
        CHECK(info.threads > 0 && info.memory_bytes > 0, "numbers");
        CHECK(info.max_alloc_bytes > 0 && info.max_alloc_bytes <= info.memory_bytes, "max alloc");
    }
    test_folder_free(&cache);
}

/* Selecting with this must give a device that has the text in its names and is the first such. */
static void check_text(const char *text) {
    lt_cl_found found;
    CHECK_OK(lt_cl_device_select(test_text(":%s", text), &found));
    for (size_t i = 0; i <= found.index; i++) {
        const lathe_device_info info = info_at(i + 1);
        bool has = strcasestr(info.name, text) != NULL || strcasestr(info.platform, text) != NULL;
        lt_cl_device device = {.context = NULL};
        lt_cl_found other;
        CHECK_OK(lt_cl_device_find(i, &other));
        bool fits =
            has && (i == found.index || lt_cl_device_open(&other, NULL, &device) == LATHE_OK);
        CHECK(fits == (i == found.index), "%s gives device %zu", text, found.index);
        lt_cl_device_close(&device);
    }
}

static void shout(const char *from, char *to) {
    do {
        *to++ = (char)toupper((unsigned char)*from);
    } while (*from++ != '\0');
}

Test(devices, selection) {
    const test_folder cache = private_pocl_cache();
    size_t n_devices = lt_cl_device_count();
    if (n_devices == 0) {
        cr_skip_test("no OpenCL device");
    }
    for (size_t i = 0; i < n_devices; i++) {
        const lathe_device_info info = info_at(i + 1);
        lt_cl_found found;
        CHECK_OK(lt_cl_device_select(test_text(":%zu", i), &found));
        CHECK(found.index == i, "index %zu", found.index);
        CHECK_OK(lt_cl_device_select(test_text(":00%zu", i), &found));
        CHECK(found.index == i, "index %zu", found.index);
        lt_cl_found same;
        CHECK_OK(lt_cl_device_of(found.id, &same));
        CHECK(same.index == i && same.platform == found.platform, "index %zu", same.index);
        CHECK_OK(lt_cl_device_select(test_text(":%s", info.kind), &found));
        CHECK(strcmp(info_at(found.index + 1).kind, info.kind) == 0, "kind %s", info.kind);
        char text[sizeof info.name];
        check_text(info.name);
        check_text(info.platform);
        check_text(info.name + strlen(info.name) / 2);
        shout(info.name, text);
        check_text(text);
    }
    /* A GPU first, then an accelerator, then anything. */
    static const char *const kinds[] = {":gpu", ":accelerator", ":cpu"};
    lt_cl_found any;
    lt_cl_found of_kind;
    CHECK_OK(lt_cl_device_select("", &any));
    size_t i = 0;
    while (lt_cl_device_select(kinds[i], &of_kind) != LATHE_OK) {
        i++;
    }
    CHECK(any.index == of_kind.index, "%zu, %zu", any.index, of_kind.index);
    test_folder_free(&cache);
}

Test(devices, wrong_selectors) {
    const test_folder cache = private_pocl_cache();
    static const char *const wrong[] = {
        ":no such device anywhere", ":",   ":999", ":18446744073709551615",
        ":99999999999999999999",    ":-1", "x",    ":%s%n"};
    lt_cl_found found = {.index = 77};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CHECK_STATUS(lt_cl_device_select(wrong[i], &found), LATHE_NOT_FOUND);
        const char *message = lathe_last_error()->message;
        CHECK(strstr(message, test_text("\"opencl%s\"", wrong[i])) != NULL, "%s", message);
        if (lt_cl_device_count() == 0) {
            CHECK(strstr(message, "there is no OpenCL device") != NULL, "%s", message);
        } else {
            CHECK(strstr(message, "there is opencl:0 (") != NULL, "%s", message);
        }
    }
    CHECK_STATUS(lt_cl_device_find(lt_cl_device_count(), &found), LATHE_NOT_FOUND);
    CHECK_STATUS(lt_cl_device_find(SIZE_MAX, &found), LATHE_NOT_FOUND);
    CHECK(found.index == 77, "the output of a failed call is changed");
    test_folder_free(&cache);
}

Test(devices, open) {
    const test_folder cache = private_pocl_cache();
    lt_cl_found found;
    lt_cl_device device;
    if (lt_cl_device_select("", &found) != LATHE_OK) {
        cr_skip_test("no OpenCL device");
    }
    CHECK_OK(lt_cl_device_open(&found, NULL, &device));
    const lathe_device_info info = info_at(found.index + 1);
    CHECK(strcmp(device.info.name, info.name) == 0, "%s", device.info.name);
    CHECK(device.info.struct_size == sizeof device.info, "struct_size");
    CHECK(device.max_alloc_bytes == info.max_alloc_bytes, "max_alloc_bytes");
    CHECK(device.group_size >= 64 && device.group_size <= 256 &&
              (device.group_size & (device.group_size - 1)) == 0,
          "group size %u", (unsigned)device.group_size);
    CHECK(device.is_cpu == (strcmp(info.kind, "cpu") == 0), "is_cpu");
    CHECK(device.shares_memory == (info.shares_host_memory == 1), "shares_memory");
    CHECK(device.base_align_bytes > 0, "base_align_bytes");

    /* The caller's context is retained, and given back. */
    cl_uint before = 0;
    cl_uint during = 0;
    lt_cl_device second;
    CHECK(clGetContextInfo(device.context, CL_CONTEXT_REFERENCE_COUNT, sizeof before, &before,
                           NULL) == CL_SUCCESS,
          "reference count");
    CHECK_OK(lt_cl_device_open(&found, device.context, &second));
    CHECK(second.context == device.context, "not the caller's context");
    (void)clGetContextInfo(device.context, CL_CONTEXT_REFERENCE_COUNT, sizeof during, &during,
                           NULL);
    CHECK(during == before + 1, "%u references, then %u", (unsigned)before, (unsigned)during);
    lt_cl_device_close(&second);
    CHECK(second.context == NULL, "not cleared");
    lt_cl_device_close(&second);
    (void)clGetContextInfo(device.context, CL_CONTEXT_REFERENCE_COUNT, sizeof during, &during,
                           NULL);
    CHECK(during == before, "%u references, then %u", (unsigned)before, (unsigned)during);
    lt_cl_device_close(&device);
    test_folder_free(&cache);
}

Test(devices, errors) {
    static const struct {
        const char *function;
        cl_int error;
        lathe_status status;
        const char *name;
    } cases[] = {
        {"clBuildProgram", CL_BUILD_PROGRAM_FAILURE, LATHE_DEVICE,
         "CL_BUILD_PROGRAM_FAILURE (-11)"},
        {"clCreateBuffer", CL_OUT_OF_RESOURCES, LATHE_INSUFFICIENT_MEMORY, "CL_OUT_OF_RESOURCES"},
        {"clFinish", CL_OUT_OF_RESOURCES, LATHE_DEVICE, "CL_OUT_OF_RESOURCES (-5)"},
        {"clFinish", CL_OUT_OF_HOST_MEMORY, LATHE_INSUFFICIENT_MEMORY, "CL_OUT_OF_HOST_MEMORY"},
        {"clEnqueueNDRangeKernel", CL_MEM_OBJECT_ALLOCATION_FAILURE, LATHE_INSUFFICIENT_MEMORY,
         "CL_MEM_OBJECT_ALLOCATION_FAILURE"},
        {"clFlush", CL_INVALID_DEVICE_PARTITION_COUNT, LATHE_DEVICE,
         "CL_INVALID_DEVICE_PARTITION_COUNT (-68)"},
        {"clFlush", -20, LATHE_DEVICE, "error (-20)"},
        {"clFlush", -69, LATHE_DEVICE, "error (-69)"},
        {"clFlush", -9999, LATHE_DEVICE, "error (-9999)"},
        {"clFlush", 3, LATHE_DEVICE, "error (3)"},
        {"clFlush", INT32_MIN, LATHE_DEVICE, "error (-2147483648)"},
    };
    const lt_cl_device device = {.info = {.name = "Some Device"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CHECK_STATUS(lt_cl_fail(&device, cases[i].function, cases[i].error), cases[i].status);
        const char *message = lathe_last_error()->message;
        CHECK(strstr(message, test_text("Some Device: %s: %s", cases[i].function, cases[i].name)) ==
                  message,
              "%s", message);
    }
    CHECK_STATUS(lt_cl_fail(NULL, "clFlush", CL_INVALID_VALUE), LATHE_DEVICE);
    CHECK(strstr(lathe_last_error()->message, "clFlush") != NULL, "no function");
}

/* As check_cpu, and nothing else is there. */
static void check_only_cpu(void) {
    lathe_device_info info = {.struct_size = sizeof info};
    lt_cl_found found;
    CHECK(lathe_device_count() == 1, "%zu devices", lathe_device_count());
    check_cpu();
    CHECK_STATUS(lathe_device_at(1, &info), LATHE_NOT_FOUND);
    CHECK_STATUS(lt_cl_device_select("", &found), LATHE_NOT_FOUND);
    CHECK(strstr(lathe_last_error()->message, "no OpenCL device") != NULL, "%s",
          lathe_last_error()->message);
}

Test(devices, no_driver) {
    const test_folder folder = test_folder_new();
    use_vendors(folder.path);
    check_only_cpu();
    test_folder_free(&folder);
}

Test(devices, no_vendors_folder) {
    use_vendors("/nonexistent/folder");
    check_only_cpu();
}

Test(devices, missing_driver) {
    const test_folder folder = test_folder_new();
    static const char text[] = "/nonexistent/libdriver.so\n";
    test_write_file(test_path(&folder, "missing.icd"), text, sizeof text - 1);
    use_vendors(folder.path);
    check_only_cpu();
    test_folder_free(&folder);
}

/* A file that is no library, a library that is no driver, and nothing at all. */
Test(devices, broken_driver) {
    const test_folder folder = test_folder_new();
    const char *library = test_path(&folder, "libbroken.so");
    test_write_file(library, "\177ELF but no more", 16);
    test_write_file(test_path(&folder, "broken.icd"), library, strlen(library));
    test_write_file(test_path(&folder, "other.icd"), "libm.so.6\n", 10);
    test_write_file(test_path(&folder, "empty.icd"), "", 0);
    use_vendors(folder.path);
    check_only_cpu();
    test_folder_free(&folder);
}

static bool is_pocl(size_t index) {
    return strcmp(info_at(index).platform, "Portable Computing Language") == 0;
}

Test(devices, two_devices) {
    const test_folder cache = private_pocl_cache();
    CHECK(setenv("POCL_DEVICES", "pthread pthread", 1) == 0, "setenv");
    size_t first = 0;
    while (first < lt_cl_device_count() && !is_pocl(first + 1)) {
        first++;
    }
    if (first == lt_cl_device_count()) {
        cr_skip_test("no POCL");
    }
    CHECK(is_pocl(first + 1) && is_pocl(first + 2), "not two devices of POCL");
    lt_cl_found founds[2];
    lt_cl_device devices[2];
    for (size_t i = 0; i < 2; i++) {
        CHECK_OK(lt_cl_device_select(test_text(":%zu", first + i), &founds[i]));
        CHECK_OK(lt_cl_device_open(&founds[i], NULL, &devices[i]));
    }
    CHECK(founds[0].id != founds[1].id, "one device");
    /* The context of one is of no use for the other. */
    lt_cl_device wrong;
    CHECK_STATUS(lt_cl_device_open(&founds[0], devices[1].context, &wrong), LATHE_INVALID_ARGUMENT);
    lt_cl_device_close(&devices[0]);
    lt_cl_device_close(&devices[1]);
    test_folder_free(&cache);
}

#else

Test(devices, without_opencl) {
    lathe_device_info info = {.struct_size = sizeof info};
    CHECK(lathe_device_count() == 1, "%zu devices", lathe_device_count());
    CHECK_STATUS(lathe_device_at(1, &info), LATHE_NOT_FOUND);
}

#endif
